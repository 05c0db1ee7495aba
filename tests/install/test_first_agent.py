"""`fleet device setup --agent` on a folder that plays a device: really built, verified, laid down, and started."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.protocol.journal import Journal, parse
from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.manifest import manifest_path
from fleet.artifacts.trusted import render
from fleet.artifacts.verify import Refusal
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey
from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound
from fleet.contract.names import DeviceId
from fleet.contract.upgrade import EXIT_DONE, TrustedKeys
from fleet.contract.wire import encode
from fleet.install.first_agent import (
    BOOT_UNIT,
    LAUNCHER_PATH,
    TEMPLATE_PATH,
    TRUSTED_KEYS_PATH,
    FirstAgent,
    load_trusted,
)
from fleet.install.setup import CONFIG_PATH, FleetDeviceSetupScore
from fleet.topology.host import LocalHost, failed
from harness.doubles.systemctl.units import Unit
from tests.support.agents import KEY, TRUSTED, built, manifest_of, signed

AUTH = FleetDeviceAuth("https://id.example.org", "3", MachineKey("1", "2", "a private key"), "a certificate")
CONFIG = AgentConfig(DeviceId("pi-1"), "tls://nats.example.org:4222", AUTH)
RECORDER = '#!/bin/sh\necho "$@" >> "$FLEET_ROOT/systemctl.log"\n'


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHost:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text(RECORDER)
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return LocalHost(tmp_path)


def first(version: str, trusted: TrustedKeys = TRUSTED) -> FirstAgent:
    manifest_path(built(version)).write_bytes(signed(manifest_of(version)))
    return FirstAgent.load(built(version), trusted)


def commands(root: Path) -> list[str]:
    log = root / "systemctl.log"
    said = log.read_text().splitlines()
    log.unlink()
    return said


def test_a_device_gets_its_first_version_and_keeps_it(host: LocalHost, tmp_path: Path) -> None:
    FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    store = VersionStore(tmp_path)
    journal = parse(store.journal.read_bytes())
    assert isinstance(journal, Journal)
    assert journal.committed.version == "v0.1.1"
    assert store.flaw(journal.committed) == ""
    assert store.link.resolve(strict=True) == store.artifact(journal.committed.version)
    assert list(store.incoming.iterdir()) == []
    assert not (store.folder / "unpacked").exists()
    assert commands(tmp_path) == ["daemon-reload", "enable fleet-agent.service", "restart fleet-agent.service"]

    done = FleetDeviceSetupScore(CONFIG, first("v0.1.2")).interpret(host)
    assert [item.name for item in done if item.changed] == []
    assert parse(store.journal.read_bytes()) == journal, "another version comes by an upgrade"
    assert commands(tmp_path) == ["daemon-reload", "enable fleet-agent.service", "start fleet-agent.service"]


class RealHost(LocalHost):
    """A folder that is `/` to what runs on it, with what sshd gives a command and nothing else in its environment."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for folder in ("usr/local/bin", "usr/local/lib", "etc", "var/lib", "tmp", "root", "dev", "proc", ".local"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if not (root / name).exists():
                (root / name).symlink_to(f"usr/{name}")
        systemctl = root / "usr/local/bin/systemctl"
        systemctl.write_text('#!/bin/sh\necho "$@" >> /systemctl.log\n')
        systemctl.chmod(0o755)

    def execute(self, argv: Sequence[str]) -> str:
        enter = ["unshare", "--mount", "sh", "-c", ENTER, "enter", str(self._root), *argv]
        done = subprocess.run(
            enter, capture_output=True, text=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, check=False
        )
        if done.returncode != 0:
            raise failed(argv, str(self), done.returncode, (done.stdout + done.stderr).encode())
        return done.stdout


ENTER = """
set -e
root=$1; shift
mount --bind "$root/usr/local" "$root/.local"
mount --rbind /usr "$root/usr"
mount --bind "$root/.local" "$root/usr/local"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
exec chroot "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root USER=root LOGNAME=root SHELL=/bin/sh "$@"
"""


def test_a_real_host_that_was_set_up_plainly_gets_versions(tmp_path: Path) -> None:
    """It has no FLEET_ROOT, and its agent is a file that somebody installed."""
    host = RealHost(tmp_path)
    FleetDeviceSetupScore(CONFIG).interpret(host)
    (tmp_path / "usr/local/bin/fleet-agent").write_text("#!/bin/sh\n")
    commands(tmp_path)
    FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    store = VersionStore(tmp_path)
    journal = parse(store.journal.read_bytes())
    assert isinstance(journal, Journal)
    assert store.flaw(journal.committed) == ""
    assert store.link.resolve(strict=True) == store.artifact(journal.committed.version)
    assert commands(tmp_path) == ["daemon-reload", "enable fleet-agent.service", "restart fleet-agent.service"]


def test_another_configuration_restarts_the_agent_that_runs(host: LocalHost, tmp_path: Path) -> None:
    FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    commands(tmp_path)
    other = AgentConfig(DeviceId("pi-1"), "tls://elsewhere.example.org:4222", AUTH)
    FleetDeviceSetupScore(other, first("v0.1.1")).interpret(host)
    assert commands(tmp_path)[-1] == "restart fleet-agent@v0.1.1.service"


def test_what_python_is_told_on_the_host_does_not_matter(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `fleet` that Python would find first is not the one that is laid down."""
    (tmp_path / "elsewhere/fleet").mkdir(parents=True)
    (tmp_path / "elsewhere/fleet/__init__.py").write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    assert isinstance(parse(VersionStore(tmp_path).journal.read_bytes()), Journal)


def test_what_the_device_would_not_take_is_refused_before_it_is_touched(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is not trusted here"):
        first("v0.1.1", TrustedKeys((ReleaseKey.new().public,)))
    with pytest.raises(NotFound, match="beside"):
        FirstAgent.load(tmp_path / "fleet-agent-v1.0.0", TRUSTED)


def test_a_host_that_does_not_trust_it_says_so(host: LocalHost, tmp_path: Path) -> None:
    """The device verifies too: what was put there may have come to harm."""
    agent = first("v0.1.1")
    broken = FirstAgent(agent.artifact[:-1], agent.signed, agent.manifest, agent.trusted)
    with pytest.raises(FleetError, match="damaged"):
        FleetDeviceSetupScore(CONFIG, broken).interpret(host)
    assert not VersionStore(tmp_path).journal.exists()


def test_units_that_systemd_and_our_double_read(host: LocalHost, tmp_path: Path) -> None:
    FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    boot = Unit("fleet-agent.service", BOOT_UNIT)
    assert boot.last("Service", "ExecStart") == f"{LAUNCHER_PATH} boot"
    assert boot.wanted_by == ["multi-user.target"]
    template = Unit("fleet-agent@v0.1.1.service", (tmp_path / TEMPLATE_PATH.lstrip("/")).read_text())
    assert template.last("Service", "ExecStart").endswith("run v0.1.1")
    assert template.last("Service", "RestartPreventExitStatus") == str(EXIT_DONE)
    assert template.last("Service", "KillMode") == "mixed", "an agent's end must not end what runs beside it"
    assert template.last("Service", "OOMScoreAdjust") == "-900", "memory that runs out must not end the agent"
    assert (tmp_path / LAUNCHER_PATH.lstrip("/")).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "content", [b"", b"{}", encode(TrustedKeys(())), b"\xff"], ids=["empty", "poor", "none", "bytes"]
)
def test_trusted_keys_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trusted-keys.json"
    with pytest.raises(NotFound, match="new-key"):
        load_trusted(path)
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="trusted-keys"):
        load_trusted(path)
    path.write_bytes(encode(TRUSTED))
    assert load_trusted(path).keys == (KEY.public,)
    assert json.loads(encode(TRUSTED))


def numbered(number: int, *keys: ReleaseKey, revoked: bool = False) -> TrustedKeys:
    """A list; with `revoked`, the key that signs our agents is revoked in it."""
    listed = tuple(msgspec.structs.replace(one, revoked=revoked) for one in TRUSTED.keys)
    return TrustedKeys((*listed, *(key.public for key in keys)), number=number)


@pytest.mark.parametrize("replace", [False, True])
def test_a_list_older_than_the_devices_is_refused_before_the_host_is_touched(
    host: LocalHost, tmp_path: Path, replace: bool
) -> None:
    """Else a set-up with a forgotten file would have the device trust a key that leaked."""
    FleetDeviceSetupScore(CONFIG, first("v0.1.1", numbered(1))).interpret(host)
    path = tmp_path / TRUSTED_KEYS_PATH.lstrip("/")
    later = render(numbered(2, ReleaseKey.new(), revoked=True))
    path.write_bytes(later)
    commands(tmp_path)
    before = (tmp_path / CONFIG_PATH.lstrip("/")).read_bytes()
    other = msgspec.structs.replace(CONFIG, heartbeat_interval=7)
    with pytest.raises(Conflict, match=r"has the number 1, and .* has a later one, 2"):
        FleetDeviceSetupScore(other, first("v0.1.1", numbered(1)), replace=replace).interpret(host)
    assert path.read_bytes() == later
    assert (tmp_path / CONFIG_PATH.lstrip("/")).read_bytes() == before
    assert not (tmp_path / "systemctl.log").exists()


def test_a_list_of_the_same_number_or_a_later_one_is_put(host: LocalHost, tmp_path: Path) -> None:
    """The owner may change a list by hand."""
    path = tmp_path / TRUSTED_KEYS_PATH.lstrip("/")
    for trusted in (numbered(2), numbered(2, ReleaseKey.new()), numbered(3)):
        FleetDeviceSetupScore(CONFIG, first("v0.1.1", trusted)).interpret(host)
        assert path.read_bytes() == render(trusted)


def test_a_list_that_no_agent_can_read_is_replaced(host: LocalHost, tmp_path: Path) -> None:
    FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    path = tmp_path / TRUSTED_KEYS_PATH.lstrip("/")
    path.write_bytes(b"{")
    FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    assert path.read_bytes() == render(TRUSTED)


def test_the_list_of_somebody_elses_fleet_does_not_count_where_its_host_is_taken_over(
    host: LocalHost, tmp_path: Path
) -> None:
    FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    path = tmp_path / TRUSTED_KEYS_PATH.lstrip("/")
    path.write_bytes(render(TrustedKeys((ReleaseKey.new().public,), number=9)))
    with pytest.raises(Conflict, match=r"has the number 0, and .* has a later one, 9"):
        FleetDeviceSetupScore(CONFIG, first("v0.1.1")).interpret(host)
    FleetDeviceSetupScore(CONFIG, first("v0.1.1"), replace=True).interpret(host)
    assert path.read_bytes() == render(TRUSTED)
