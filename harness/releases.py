"""Agents that a scenario finds built, signed and published, by the commands that an operator types; once a world."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.commands import Result, run
from harness.scenario import Command, Value
from harness.world import World

NEW_KEY = Command("fleet agent new-key --out {release_key} --trusted-keys {trusted_keys}")
PUBLISH = Command("fleet agent publish {agent}", deadline=60)
_BUILD = Command(
    "fleet agent build --version {version} --out {agents} --key {release_key} --architecture {arch} --python {python}",
    deadline=300,
)
"""For this machine alone: an agent for every board takes three times as long to build."""


def versions(count: int) -> list[str]:
    """The versions that a scenario finds: v0.1.1, v0.1.2 and so on."""
    return [f"v0.1.{number}" for number in range(1, count + 1)]


def names_of(world: World, count: int) -> dict[str, Value]:
    """What the placeholders of agents stand for: `{version}` and `{agent}` are the first, `{version2}` the second."""
    folder = world.root / "agents"
    found: dict[str, Value] = {
        "agents": str(folder),
        "release_key": str(folder / "release.key"),
        "trusted_keys": str(folder / "trusted-keys.json"),
        "arch": os.uname().machine,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    for number, version in enumerate(versions(count), start=1):
        suffix = str(number) if number > 1 else ""
        found |= {f"version{suffix}": version, f"agent{suffix}": str(folder / f"fleet-agent-{version}")}
    return found


def ensure_published(world: World, folder: Path, count: int) -> None:
    """Build and publish so many agents, unless that was done.

    Raises:
        AssertionError: a command failed.
    """
    names = names_of(world, count)
    server = world.kube.installation()  # what was published may have gone with the one before
    built = Path(str(names["agents"]))
    built.mkdir(exist_ok=True)
    if not Path(str(names["release_key"])).exists():
        _type(NEW_KEY, names, world, folder)
    for version in versions(count):
        agent = built / f"fleet-agent-{version}"
        if not agent.exists():
            _type(_BUILD, {**names, "version": version}, world, folder)
        mark = built / f"{version}.published"
        if not mark.exists() or mark.read_text() != server:
            _type(PUBLISH, {**names, "agent": str(agent)}, world, folder)
            mark.write_text(server)


def _type(command: Command, names: Mapping[str, Value], world: World, folder: Path) -> Result:
    line = command.text(names)
    done = run(
        command.argv(names), line, env=world.env, folder=folder, deadline=command.deadline, on_line=lambda _: None
    )
    assert done.code == 0, f"the preparation failed:\n{done}"
    return done
