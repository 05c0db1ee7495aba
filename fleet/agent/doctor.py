"""`fleet-agent doctor`: what is wrong on this device, and what to do next; nothing is changed.

It goes further than `--self-test`, which asks whether an agent would work here at all: names, ports, certificates one
after the other, the disk, the units. Where one thing is the ground of another, the other is left out.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from fleet.agent import selftest
from fleet.agent.disk import floor
from fleet.agent.paths import AgentPaths
from fleet.agent.schema import on_disk
from fleet.agent.setup import load
from fleet.contract.config import AgentConfig
from fleet.contract.errors import FleetError, InvalidInput, NotFound, NotPermitted
from fleet.contract.upgrade import STATE_SCHEMA
from fleet.doctor.findings import Finding, State, Worrying, found
from fleet.doctor.identity import check_discovery
from fleet.doctor.nats import check_nats
from fleet.identity.access_token import AccessToken

_UNIT = "fleet-agent.service"
_LEAST = 16 * 2**20
"""Bytes below which the agent can keep its own state no more."""
_SYSTEMCTL = 10.0


def examine(paths: AgentPaths) -> list[Finding]:
    """Every check that is possible here."""
    findings = [
        found("disk", lambda: check_disk(paths.state.parent)),
        found("state", lambda: check_state(paths)),
        found("unit", check_unit),
    ]
    known: list[AgentConfig] = []

    def check_configuration() -> str:
        known.append(load(paths))
        return f"{paths.config} is that of {known[0].device_id}"

    findings.append(found("configuration", check_configuration))
    return findings + (_connections(paths, known[0]) if known else [])


def _connections(paths: AgentPaths, config: AgentConfig) -> list[Finding]:
    auth, tokens = config.auth, list[AccessToken]()
    findings = [
        found("engine", _running(lambda: selftest.engine(paths, config))),
        found("nats", lambda: check_nats(config.nats_url, auth.ca, time.time())),
        found("issuer", lambda: check_discovery(auth.issuer, auth.ca)),
    ]
    if findings[-1].state is not State.FAILED:
        findings.append(found("login", _running(lambda: selftest.issuer(config, tokens))))
    if tokens and findings[1].state is not State.FAILED:
        findings.append(found("session", _running(lambda: selftest.nats(config, tokens[0]))))
    return findings


def _running(look: Callable[[], Coroutine[None, None, str]]) -> Callable[[], str]:
    return lambda: asyncio.run(look())


def check_disk(folder: Path) -> str:
    """Whether the agent, and what it runs, can write.

    Raises:
        FleetError: the disk is full, has no more files to give, or is read-only.
        Worrying: so little is free that no image is fetched.
    """
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    known = os.statvfs(existing)
    if known.f_flag & os.ST_RDONLY:
        raise NotPermitted(
            f"the disk of {folder} is read-only",
            next_step="see dmesg: a failing disk is mounted read-only; then mount it again",
        )
    if known.f_files and not known.f_favail:
        raise FleetError(
            f"the disk of {folder} has no inode left", next_step="find the folder with very many files, and empty it"
        )
    disk = shutil.disk_usage(existing)
    least = floor(disk.total)
    if disk.free < _LEAST:
        raise FleetError(
            f"{disk.free // 2**20} MiB are free at {folder}",
            next_step="free space: the agent cannot save its orders",
        )
    if disk.free < least:
        raise Worrying(
            f"{disk.free // 2**20} MiB are free at {folder}: no image is fetched below {least // 2**20} MiB",
            next_step="free space; `fleet device show` says what uses it",
        )
    return f"{disk.free // 2**20} MiB are free at {folder}"


def check_state(paths: AgentPaths) -> str:
    """Whether the state on disk is of a form that this agent reads.

    Raises:
        InvalidInput: a newer agent wrote it.
    """
    form = on_disk(paths)
    if form > STATE_SCHEMA:
        raise InvalidInput(
            f"a newer agent wrote {paths.state.parent}: it has form {form}, and this one reads up to {STATE_SCHEMA}",
            next_step="run an agent that is as new: `fleet device upgrade`",
        )
    return f"{paths.state.parent} is of a form that this agent reads"


def check_unit() -> str:
    """Whether systemd runs the agent, and starts it at the next boot.

    Raises:
        NotFound: there is no systemd, or no unit.
        FleetError: the unit failed, or does not run.
        Worrying: it runs, and will not after a reboot.
    """
    states = {word: _systemctl(word) for word in ("is-active", "is-enabled")}
    active, enabled = states["is-active"], states["is-enabled"]
    if enabled in {"not-found", ""} and active != "active":
        raise NotFound(f"there is no unit {_UNIT}", next_step="run `fleet device setup` again")
    if active != "active":
        raise FleetError(
            f"{_UNIT} is {active}", next_step=f"see `journalctl -u {_UNIT}`, then `systemctl restart {_UNIT}`"
        )
    if enabled != "enabled":
        raise Worrying(
            f"{_UNIT} runs, and is {enabled}", next_step=f"`systemctl enable {_UNIT}`, or no reboot starts it"
        )
    return f"{_UNIT} runs, and starts at boot"


def _systemctl(word: str) -> str:
    try:
        done = subprocess.run(
            ["systemctl", word, _UNIT],  # noqa: S607 - as the agent calls it
            capture_output=True,
            text=True,
            timeout=_SYSTEMCTL,
            check=False,
        )
    except FileNotFoundError as error:
        raise NotFound("there is no systemctl", next_step="is systemd this device's init?") from error
    except subprocess.TimeoutExpired as error:
        raise FleetError(
            f"systemctl does not answer within {_SYSTEMCTL:g} s",
            next_step="is systemd well? see `journalctl -b -p err`",
        ) from error
    return done.stdout.strip()
