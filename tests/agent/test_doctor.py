"""`fleet-agent doctor`: problems, each planted alone, are found and named with their next step."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from fleet.agent import doctor
from fleet.agent.main import main
from fleet.agent.paths import AgentPaths
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, render_config
from fleet.contract.names import DeviceId
from fleet.contract.upgrade import STATE_SCHEMA
from fleet.doctor.findings import Finding, State
from harness.processes.ports import free_port
from harness.processes.spawn import python_script
from tests.support.issuer import PROJECT, rsa
from tests.support.tls import Tls

WELL = "import sys; print({'is-active': 'active', 'is-enabled': 'enabled'}[sys.argv[1]])"


@pytest.fixture
def config(tls: Tls) -> AgentConfig:
    """A good configuration of servers that are not there."""
    key = MachineKey(user_id="1", key_id="2", key=rsa(1).as_pem(private=True).decode())
    auth = FleetDeviceAuth(f"https://localhost:{free_port()}", PROJECT, key, tls.ca)
    return AgentConfig(DeviceId("pi-1"), f"tls://localhost:{free_port()}", auth)


@pytest.fixture(autouse=True)
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A systemctl that answers as a program says; at first all is well."""
    folder = tmp_path / "a path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def answer(program: str) -> None:
        (folder / "systemctl").write_text(python_script("-c", program))
        (folder / "systemctl").chmod(0o755)

    answer(WELL)
    return answer


def write(root: Path, content: bytes, mode: int = 0o600) -> AgentPaths:
    place = AgentPaths(root)
    place.config.parent.mkdir(parents=True)
    place.config.write_bytes(content)
    place.config.chmod(mode)
    return place


def one(check: str, findings: list[Finding]) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    assert found.next or found.state is State.OK
    return found


def test_what_is_well_is_said_to_be_so(tmp_path: Path, config: AgentConfig) -> None:
    findings = doctor.examine(write(tmp_path, render_config(config)))
    assert {name: one(name, findings).state for name in ("state", "unit", "configuration")} == {
        "state": State.OK,
        "unit": State.OK,
        "configuration": State.OK,
    }


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [(None, 0o600, "agent.json"), (b"{", 0o600, "not"), (b"", 0o644, "0644")],
    ids=["missing", "no-json", "readable-by-others"],
)
def test_a_configuration_that_is_wrong(
    tmp_path: Path, config: AgentConfig, content: bytes | None, mode: int, words: str
) -> None:
    place = AgentPaths(tmp_path) if content is None else write(tmp_path, content or render_config(config), mode)
    findings = doctor.examine(place)
    found = one("configuration", findings)
    assert found.state is State.FAILED
    assert words in found.says
    assert [finding.check for finding in findings] == ["disk", "state", "unit", "configuration"], "the rest needs it"


def test_servers_and_an_engine_that_are_not_there(tmp_path: Path, config: AgentConfig) -> None:
    findings = doctor.examine(write(tmp_path, render_config(config)))
    for check, words in (("nats", "nothing answers at localhost"), ("issuer", "localhost"), ("engine", "docker.sock")):
        found = one(check, findings)
        assert found.state is State.FAILED
        assert words in found.says
    assert "login" not in [finding.check for finding in findings], "its ground is missing"


def test_a_name_that_does_not_resolve(tmp_path: Path, config: AgentConfig) -> None:
    elsewhere = msgspec.structs.replace(config, nats_url="tls://nobody.invalid:4222")
    found = one("nats", doctor.examine(write(tmp_path, render_config(elsewhere))))
    assert "nobody.invalid does not resolve" in found.says


@pytest.mark.parametrize(
    ("program", "state", "words"),
    [
        ("import sys; print('failed' if sys.argv[1] == 'is-active' else 'enabled')", State.FAILED, "is failed"),
        ("import sys; print('active' if sys.argv[1] == 'is-active' else 'disabled')", State.WARNING, "is disabled"),
        ("import sys; print('inactive' if sys.argv[1] == 'is-active' else 'not-found')", State.FAILED, "no unit"),
    ],
    ids=["failed", "not-at-boot", "no-unit"],
)
def test_a_unit_that_is_not_well(systemctl: Callable[[str], None], program: str, state: State, words: str) -> None:
    systemctl(program)
    found = doctor.found("unit", doctor.check_unit)
    assert found.state is state
    assert words in found.says
    assert found.next


def test_a_device_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.found("unit", doctor.check_unit)
    assert (found.state, found.says) == (State.FAILED, "there is no systemctl")


GIB = 2**30
DISKS: dict[str, tuple[dict[str, int], int, State, str]] = {
    "read-only": ({"f_flag": os.ST_RDONLY}, 10 * GIB, State.FAILED, "read-only"),
    "no-inodes": ({"f_favail": 0}, 10 * GIB, State.FAILED, "no inode left"),
    "full": ({}, 2**20, State.FAILED, "1 MiB are free"),
    "nearly-full": ({}, GIB, State.WARNING, "no image is fetched below 2048 MiB"),
    "well": ({}, 10 * GIB, State.OK, "10240 MiB are free"),
}


@pytest.mark.parametrize("name", DISKS)
def test_a_disk(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, free, state, words = DISKS[name]
    known = SimpleNamespace(**{"f_flag": 0, "f_files": 1000, "f_favail": 500, **given})
    disk = SimpleNamespace(total=100 * GIB, free=free)

    def of(folder: Path, *, answer: SimpleNamespace) -> SimpleNamespace:
        assert folder == tmp_path, "the nearest folder that is there"
        return answer

    monkeypatch.setattr(doctor, "os", SimpleNamespace(statvfs=partial(of, answer=known), ST_RDONLY=os.ST_RDONLY))
    monkeypatch.setattr(doctor, "shutil", SimpleNamespace(disk_usage=partial(of, answer=disk)))
    found = doctor.found("disk", lambda: doctor.check_disk(tmp_path / "not/there/yet"))
    assert found.state is state
    assert words in found.says


def test_what_a_newer_agent_left(tmp_path: Path) -> None:
    place = AgentPaths(tmp_path)
    place.state.parent.mkdir(parents=True)
    place.state.write_text(f'{{"wishes": {{}}, "schema": {STATE_SCHEMA + 1}}}')
    found = one("state", doctor.examine(place))
    assert found.state is State.FAILED
    assert "a newer agent wrote" in found.says


def test_the_command_ends_with_code_1_where_a_check_failed(
    tmp_path: Path, config: AgentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, render_config(config))
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--root", str(tmp_path)])
    told = capsys.readouterr().out
    assert end.value.code == 1
    assert "next: " in told
    key = config.auth.machine_key.key
    assert not any(line in told for line in key.splitlines() if line), "no secret is told"
