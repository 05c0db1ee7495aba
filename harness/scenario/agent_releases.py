"""Agents that a scenario finds built, signed and published, by the commands that an operator types; once a world."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import Manifest, SignedManifest
from fleet.contract.wire import encode
from harness.devices.vm import guest
from harness.scenario.command import Result, run
from harness.scenario.command_line import Command, Value
from harness.wait import stretch
from harness.world.world import World

NEW_KEY = Command("fleet agent new-key --out {release_key} --trusted-keys {trusted_keys}")
PUBLISH = Command("fleet agent publish {agent}", deadline=60)
_BUILD = Command(
    "fleet agent build --version {version} --out {agents} --key {release_key} {built_for}",
    deadline=300,
)
"""For the devices that there are: an agent for every board takes three times as long to build."""


_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def _targets(kinds: Collection[str]) -> tuple[str, ...]:
    """The options of `fleet agent build` for the devices of a world; a board may be of any kind that is built for."""
    if "pi" in kinds:
        return ()
    pythons = sorted({_PYTHON, guest.PYTHON} if "libvirt" in kinds else {_PYTHON})
    return ("--architecture", os.uname().machine, *(word for python in pythons for word in ("--python", python)))


def versions(count: int) -> list[str]:
    """The versions that a scenario finds: v0.1.1, v0.1.2 and so on."""
    return [f"v0.1.{number}" for number in range(1, count + 1)]


UNFIT = ("unfit", "foreign")
"""Agents that no device may begin with: files that say their version, and fail their self-test."""
_UNFIT = "import sys\nif '--version' in sys.argv: sys.exit(print('fleet-agent {version}'))\nsys.exit(1)\n"


def names_of(world: World, count: int) -> dict[str, Value]:
    """What the placeholders of agents stand for: `{version}` and `{agent}` are the first, `{version2}` the second."""
    folder = world.root / "agents"
    values: dict[str, Value] = {
        "agents": str(folder),
        "release_key": str(folder / "release.key"),
        "trusted_keys": str(folder / "trusted-keys.json"),
        "arch": os.uname().machine,
        "python": _PYTHON,
        "built_for": _targets(world.device_kinds),
    }
    for number, version in enumerate(versions(count), start=1):
        suffix = str(number) if number > 1 else ""
        values |= {f"version{suffix}": version, f"agent{suffix}": str(folder / f"fleet-agent-{version}")}
    for kind in UNFIT if count else ():
        version = f"v0.1.0-{kind}"
        values |= {f"version_{kind}": version, f"agent_{kind}": str(folder / f"fleet-agent-{version}")}
    return values


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
    for kind in UNFIT:
        _make_unfit(Path(str(names[f"agent_{kind}"])), str(names[f"version_{kind}"]))
    for version in versions(count):
        agent = built / f"fleet-agent-{version}"
        if not agent.exists():
            _type(_BUILD, {**names, "version": version}, world, folder)
        mark = built / f"{version}.published"
        if not mark.exists() or mark.read_text() != server:
            _type(PUBLISH, {**names, "agent": str(agent)}, world, folder)
            mark.write_text(server)


def _make_unfit(agent: Path, version: str) -> None:
    """Write an agent with its manifest, as if built elsewhere: it is not signed yet."""
    with zipfile.ZipFile(agent, "w") as archive:  # entries without a date: the same bytes every time
        archive.writestr(zipfile.ZipInfo("environment.json"), '{"build_id": "00000000"}')
        archive.writestr(zipfile.ZipInfo("__main__.py"), _UNFIT.replace("{version}", version))
    content = agent.read_bytes()
    digest = Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
    manifest = Manifest(AgentVersion(version), digest, len(content), (digest,))
    agent.with_name(f"{agent.name}.json").write_bytes(encode(SignedManifest(encode(manifest).decode(), "", "")))


def _type(command: Command, names: Mapping[str, Value], world: World, folder: Path) -> Result:
    line = command.text(names)
    limit = command.deadline * stretch()
    done = run(command.argv(names), line, env=world.env, folder=folder, deadline=limit, on_line=lambda _: None)
    assert done.code == 0, f"the preparation failed:\n{done}"
    return done
