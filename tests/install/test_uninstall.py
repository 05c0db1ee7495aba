"""`fleet device uninstall` on a folder that plays a device, with containers on an engine; and cuts at every step."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from fleet.agent.upgrade.protocol.journal import Journal, Release, render
from fleet.contract import containers
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, render_config
from fleet.contract.errors import FleetError, InvalidInput, NotFound
from fleet.contract.names import AgentVersion, DeviceId, Digest
from fleet.contract.owner import Owner
from fleet.contract.upgrade import Manifest
from fleet.install.first_agent import FirstAgent
from fleet.install.setup import CONFIG_PATH, UNIT_PATH, FleetDeviceSetupScore
from fleet.install.uninstall import FleetDeviceUninstallScore, Removed
from fleet.launcher import ender
from fleet.topology.capabilities import Applied, RunsCommands
from fleet.topology.host import LocalHost
from harness.engine.client import EngineClient
from harness.engine.select import double_engine
from harness.images import IMAGE
from tests.support.agents import TRUSTED, signed

AUTH = FleetDeviceAuth("https://id.example.org", "3", MachineKey("1", "2", "a private key"), "a certificate")
UNDO = FleetDeviceUninstallScore()


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[EngineClient]:
    """Module: an engine with the test image."""
    with double_engine(request.param) as found, contextlib.closing(EngineClient(found.socket)) as client:
        yield client


class Lab:
    """A host that was set up, with a workload of its own, one of an identity before, and one of somebody else."""

    def __init__(self, root: Path, engine: EngineClient) -> None:
        self.root, self.engine = root, engine
        self.host = LocalHost(root)
        self.config = AgentConfig(DeviceId(f"pi-{secrets.token_hex(3)}"), "tls://nats.example.org:4222", AUTH)
        self.owner = Owner.of(self.config)
        self.before = Owner(f"old-{secrets.token_hex(3)}", "another")
        (root / "run").mkdir(exist_ok=True)
        (root / "run/docker.sock").symlink_to(engine.socket)

    def run(self, owner: Owner, name: str = "") -> str:
        """A container of an owner; returns its name."""
        labels = {containers.DEVICE_LABEL: owner.device, containers.DEPLOYMENT_LABEL: "web"}
        if owner.server:
            labels[containers.SERVER_LABEL] = owner.server
        name = name or containers.container_name(owner.device, secrets.token_hex(3))
        body = {"Image": IMAGE, "Cmd": ["sleep", "1000000"], "Labels": labels}
        made = self.engine.call("POST", "/containers/create", params={"name": name}, json=body).json()["Id"]
        assert self.engine.call("POST", f"/containers/{made}/start").status_code == 204
        return name

    def exists(self, name: str) -> bool:
        return self.engine.call("GET", f"/containers/{name}/json").status_code == 200

    def files(self) -> list[str]:
        """What is there but the recorder of systemctl and the socket."""
        kept = {"bin/systemctl", "systemctl.log", "run/docker.sock"}
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if not path.is_dir())
        return sorted(name for name in found if name not in kept)


@pytest.fixture
def lab(tmp_path: Path, engine: EngineClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text('#!/bin/sh\necho "$@" >> "$FLEET_ROOT/systemctl.log"\n')
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    made = Lab(tmp_path, engine)
    yield made
    for one in engine.call("GET", "/containers/json", params={"all": "1"}).json():
        engine.call("DELETE", f"/containers/{one['Id']}", params={"force": "1"})


def plain(lab: Lab) -> FleetDeviceSetupScore:
    return FleetDeviceSetupScore(lab.config)


STAND_IN = """\
import os, pathlib, shutil, sys
version, digest = sys.argv[1:]
root = pathlib.Path(os.environ["FLEET_ROOT"])
home = root / "var/lib/fleet/agent/versions" / version
home.mkdir(parents=True, exist_ok=True)
(home / "fleet-agent").touch()
(root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
link = root / "usr/local/bin/fleet-agent"
if link.is_file() and not link.is_symlink():
    link.replace(f"{link}.before-versions")
link.unlink(missing_ok=True)
link.symlink_to(home / "fleet-agent")
(root / "var/lib/fleet/agent/journal.json").write_text(JOURNAL % digest)
shutil.rmtree(root / "var/lib/fleet/agent/incoming")
"""
"""Lays itself down as an agent does (the real one is in `test_first_agent.py`, and unpacks for seconds)."""


def versioned(lab: Lab) -> FleetDeviceSetupScore:
    version = AgentVersion("v0.1.1")
    journal = (
        render(Journal(Release(version, Digest(f"sha256:{64 * '0'}")))).decode().replace(f"sha256:{64 * '0'}", "%s")
    )
    artifact = f"JOURNAL = {journal!r}\n{STAND_IN}".encode()
    digest = Digest(f"sha256:{hashlib.sha256(artifact).hexdigest()}")
    manifest = Manifest(version, digest, len(artifact), (digest,))
    return FleetDeviceSetupScore(lab.config, FirstAgent(artifact, signed(manifest), manifest, TRUSTED))


SETUPS = pytest.mark.parametrize("score", [plain, versioned])
ONE_ENGINE = pytest.mark.parametrize("engine", ["docker"], indirect=True)
Score = Callable[[Lab], FleetDeviceSetupScore]


@SETUPS
def test_nothing_of_ours_is_left_and_all_of_others_is(lab: Lab, score: Score) -> None:
    before = lab.files()
    score(lab).interpret(lab.host)
    lab.host.put("/var/lib/fleet/replaced.json", msgspec.json.encode([lab.before]), 0o600)
    ours = [lab.run(lab.owner), lab.run(Owner(lab.owner.device, "")), lab.run(lab.before)]
    others = [lab.run(Owner("other", lab.owner.server)), lab.run(Owner(lab.owner.device, "another server"))]
    for server in (lab.owner.server, "another server"):
        labels = {containers.DEVICE_LABEL: lab.owner.device, containers.SERVER_LABEL: server}
        lab.engine.call("POST", "/networks/create", json={"Name": f"net-of-{server.split()[0]}", "Labels": labels})
    removed = UNDO.interpret(lab.host)
    assert (removed.device, sorted(removed.containers)) == (lab.owner.device, sorted(ours))
    left = {one["Name"] for one in lab.engine.call("GET", "/networks").json()}
    assert left == {"net-of-another"}
    lab.engine.call("DELETE", "/networks/net-of-another")
    assert {UNIT_PATH, CONFIG_PATH, "/var/lib/fleet"} <= set(removed.files)
    assert lab.files() == before
    assert [lab.exists(name) for name in (*ours, *others)] == [False] * 3 + [True] * 2
    assert not (lab.root / "etc/fleet").exists()
    assert UNDO.interpret(lab.host) == Removed("", [], []), "a repeat has nothing to do"


def test_an_agent_that_was_installed_before_versions_comes_back(lab: Lab) -> None:
    lab.host.put("/usr/local/bin/fleet-agent", b"installed by hand", 0o755)
    before = lab.files()
    versioned(lab).interpret(lab.host)
    UNDO.interpret(lab.host)
    assert lab.files() == before
    assert (lab.root / "usr/local/bin/fleet-agent").read_bytes() == b"installed by hand"


class Cut(Exception):  # noqa: N818 - no error, but what is done to a host
    pass


class Fragile:
    """A host that is lost right after so many steps."""

    def __init__(self, host: RunsCommands, steps: int) -> None:
        self.host, self.left = host, steps

    def _count(self) -> None:
        if self.left == 0:
            raise Cut
        self.left -= 1

    def execute(self, argv: Sequence[str]) -> str:
        self._count()
        return self.host.execute(argv)

    def read(self, path: str) -> bytes | None:
        return self.host.read(path)

    def put(self, path: str, content: bytes, mode: int) -> Applied:
        self._count()
        return self.host.put(path, content, mode)


def cut_everywhere(act: Callable[[RunsCommands], object], host: RunsCommands) -> Iterator[None]:
    """Yields after each cut, until the act gets through."""
    for steps in range(100):
        try:
            act(Fragile(host, steps))
        except Cut:
            yield
        else:
            return
    raise AssertionError("it never ends")


@SETUPS
@ONE_ENGINE
def test_a_set_up_that_is_cut_and_repeated_ends_as_one_that_was_not(lab: Lab, score: Score) -> None:
    wanted = score(lab)
    wanted.interpret(lab.host)
    whole = lab.files()
    for _ in cut_everywhere(_afresh(lab, wanted.interpret), lab.host):
        (lab.root / "systemctl.log").unlink(missing_ok=True)
        wanted.interpret(lab.host)
        assert lab.files() == whole
        assert "start" in (lab.root / "systemctl.log").read_text(), "nothing has started the agent"
        assert not any(item.changed for item in wanted.interpret(lab.host)), "a second one finds something to do"


def _afresh(lab: Lab, act: Callable[[RunsCommands], object]) -> Callable[[RunsCommands], object]:
    def bare_first(host: RunsCommands) -> object:
        UNDO.interpret(lab.host)
        return act(host)

    return bare_first


@SETUPS
@ONE_ENGINE
def test_an_uninstall_that_is_cut_and_repeated_leaves_nothing(lab: Lab, score: Score) -> None:
    before = lab.files()

    def fresh(host: RunsCommands) -> object:
        score(lab).interpret(lab.host)
        self_made.append(lab.run(lab.owner))
        return UNDO.interpret(host)

    self_made: list[str] = []
    for _ in cut_everywhere(fresh, lab.host):
        UNDO.interpret(lab.host)
        assert lab.files() == before
        assert not lab.exists(self_made[-1])


def test_without_an_engine_what_runs_is_not_forgotten(lab: Lab) -> None:
    plain(lab).interpret(lab.host)
    (lab.root / "run/docker.sock").unlink()
    lab.host.put("/var/lib/fleet/desired.json", b'{"wishes":{"web":{}}}', 0o600)
    with pytest.raises(NotFound, match=r"no container engine answers at /run/docker.sock on .*run there: web"):
        UNDO.interpret(lab.host)
    assert lab.host.read(CONFIG_PATH) is not None
    (lab.root / "var/lib/fleet/desired.json").unlink()
    assert UNDO.interpret(lab.host).device == lab.owner.device


def test_a_damaged_configuration_is_told_before_anything_is_ended(lab: Lab) -> None:
    plain(lab).interpret(lab.host)
    lab.host.put(CONFIG_PATH, render_config(lab.config)[:50], 0o600)
    (lab.root / "systemctl.log").unlink()
    with pytest.raises(InvalidInput, match="is damaged, so that nobody can tell whose"):
        UNDO.interpret(lab.host)
    assert not (lab.root / "systemctl.log").exists()


def test_an_engine_that_refuses_is_quoted(lab: Lab) -> None:
    plain(lab).interpret(lab.host)
    lab.run(lab.owner)
    lab.engine.call(
        "POST", "/_double/faults", json={"path": "^/containers/", "method": "DELETE", "status": 500, "times": 1}
    )
    with pytest.raises(FleetError, match="a planted fault"):
        UNDO.interpret(lab.host)
    assert lab.host.read(CONFIG_PATH) is not None


def test_it_knows_containers_by_the_contracts_labels() -> None:
    assert (ender.DEVICE_LABEL, ender.SERVER_LABEL) == (containers.DEVICE_LABEL, containers.SERVER_LABEL)
