"""The agent's units: one instance of a template for each version, started and stopped through systemctl.

A version is never the child of another one: what runs in a unit's control group ends with the unit.
"""

from __future__ import annotations

import asyncio

import structlog

from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion

_log = structlog.stdlib.get_logger()

_WITHIN = 40.0
"""Seconds for one command: longer than a unit's `TimeoutStopSec`, after which systemd kills it."""
_PATTERN = "fleet-agent@*.service"


def unit(version: AgentVersion) -> str:
    """The name of a version's unit."""
    return f"fleet-agent@{version}.service"


async def start(version: AgentVersion, *, afresh: bool) -> None:
    """Start a version's unit; an active one stays as it is, or is ended first where `afresh` says so.

    Raises:
        FleetError: it did not start; the message holds what systemctl said.
    """
    await _systemctl("restart" if afresh else "start", unit(version))


async def stop(version: AgentVersion) -> None:
    """Stop a version's unit; systemd kills what does not end by itself.

    Raises:
        FleetError: it was not stopped.
    """
    await _systemctl("stop", unit(version))


async def stop_others(keep: AgentVersion) -> None:
    """Ask for the end of every other version's unit, without waiting for it; a failure is only logged."""
    try:
        listed = await _systemctl("list-units", "--plain", "--no-legend", "--state=active,activating", _PATTERN)
        others = sorted({line.split()[0] for line in listed.splitlines() if line.strip()} - {unit(keep)})
        if others:
            _log.info("other versions are stopped", units=others)
            await _systemctl("stop", "--no-block", *others)
    except FleetError as error:
        _log.warning("other versions not stopped", why=error.what)


async def _systemctl(*words: str) -> str:
    command = " ".join(("systemctl", *words))
    try:
        process = await asyncio.create_subprocess_exec(
            "systemctl", *words, stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=-1
        )
    except OSError as error:
        raise FleetError(f"cannot run systemctl: {error.strerror}", next_step="is systemd on the device?") from error
    try:
        async with asyncio.timeout(_WITHIN):
            out, err = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise FleetError(
            f"`{command}` did not end within {_WITHIN:g} s", next_step="see the device's journal"
        ) from error
    if process.returncode != 0:
        why = err.decode(errors="replace").strip() or "(it said nothing)"
        raise FleetError(f"`{command}` failed: {why}", next_step="see the unit with `systemctl status`")
    return out.decode(errors="replace")
