"""A world with a fleet server in it, and enrolled devices, made as an operator makes them: by the command line."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from fleet.contract.config import AgentConfig, load_config
from harness.devices import Device
from harness.scenario.command import Result, run
from harness.targets.registry import Settings, open_world
from harness.targets.setup import shared_resources
from harness.wait import wait_until
from harness.world.keep import NEVER
from harness.world.world import World


@contextlib.contextmanager
def installed() -> Generator[World]:
    """An embedded world with a fleet server."""
    with bare("embedded") as world:
        install(world)
        yield world


@contextlib.contextmanager
def bare(target: str) -> Generator[World]:
    """A world on a target, without a fleet server."""
    with contextlib.ExitStack() as cleanup:
        found = cleanup.enter_context(shared_resources(lambda line: print(line, file=sys.stderr), target))
        settings = Settings(target, uuid.uuid4().hex, "main", keep=NEVER, shared=lambda: found)
        yield cleanup.enter_context(open_world(settings))


def install(world: World) -> None:
    """As an admin does."""
    issuer = ("--issuer", world.issuer, "--issuer-ca", str(world.issuer_ca))
    fleet(world, "server", "install", *issuer, "--admin-token-file", str(world.admin_token_file))


def fleet(world: World, *arguments: str, within: float = 60) -> Result:
    """Type one `fleet` command, which has so many seconds.

    Raises:
        SystemExit: it did not end with 0.
    """
    return _typed(["fleet", *arguments], world, world.env, within)


def enroll(world: World, name: str) -> AgentConfig:
    """A device's identity, without an agent that uses it; returns what enrollment wrote."""
    path = _config_file(world, name)
    token = ("--admin-token-file", str(world.admin_token_file))
    fleet(world, "device", "enroll", "--device-id", name, "--out", str(path), *token, "--label", f"device={name}")
    return load_config(path, AgentConfig)


def set_up(world: World, name: str) -> Device:
    """A machine with a running agent that has been enrolled and is online."""
    enroll(world, name)
    device = world.device(name)
    words = ["fleet", "device", "setup", "--config", str(_config_file(world, name)), *device.where]
    _typed(words, world, device.env, within=60)
    wait_until(lambda: _conditions(world, name), f"{name} is online", timeout=30, until=lambda seen: "Online" in seen)
    return device


def _typed(argv: Sequence[str], world: World, env: Mapping[str, str], within: float) -> Result:
    result = run(argv, " ".join(argv), env=env, folder=world.root, deadline=within, on_line=lambda _: None)
    if result.code != 0:
        raise SystemExit(str(result))
    return result


def _conditions(world: World, name: str) -> list[str]:
    device = world.kube.device(name)
    return [condition.type for condition in device.status.conditions if condition.status == "True"] if device else []


def _config_file(world: World, name: str) -> Path:
    return world.root / f"{name}.json"
