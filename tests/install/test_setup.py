"""What `fleet device setup` puts on a host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, render_config
from fleet.contract.errors import Conflict, InvalidInput, NotFound
from fleet.contract.names import DeviceId
from fleet.contract.owner import REPLACED_PATH, Owner, parse_owners
from fleet.install.setup import CONFIG_PATH, UNIT_PATH, FleetDeviceSetupScore
from fleet.install.tls import new_authority, new_key
from fleet.install.trust import DeviceTrustScore
from fleet.topology.capabilities import Applied
from harness.doubles.systemctl.units import Unit

AUTH = FleetDeviceAuth("https://id.example.org", "3", MachineKey("1", "2", "a private key"), "a certificate")
SCORE = FleetDeviceSetupScore(AgentConfig(DeviceId("pi-1"), "tls://nats.example.org:4222", AUTH))


class Recorder:
    """A host that remembers."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, int]] = {}
        self.commands: list[str] = []

    def execute(self, argv: Sequence[str]) -> str:
        self.commands.append(" ".join(argv))
        return ""

    def read(self, path: str) -> bytes | None:
        return self.files[path][0] if path in self.files else None

    def put(self, path: str, content: bytes, mode: int) -> Applied:
        changed = self.files.get(path) != (content, mode)
        self.files[path] = (content, mode)
        return Applied(path, changed)


def test_the_secret_is_its_owners_only() -> None:
    host = Recorder()
    SCORE.interpret(host)
    assert [path for path, (content, _) in host.files.items() if b"a private key" in content] == [CONFIG_PATH]
    assert host.files[CONFIG_PATH][1] == 0o600
    assert not any("a private key" in command for command in host.commands)


def test_the_unit_is_one_that_systemd_and_our_double_read(tmp_path: Path) -> None:
    host = Recorder()
    SCORE.interpret(host)
    unit = Unit("fleet-agent.service", host.files[UNIT_PATH][0].decode())
    component = unit.component(tmp_path, "agent", {"PATH": "/usr/bin:/bin"})
    assert component.argv[1:] == ("run",)
    assert component.restart == "always"
    assert unit.wanted_by == ["multi-user.target"]
    assert unit.last("Service", "KillMode") == "mixed", "an agent's end must not end what runs beside it"
    assert unit.last("Service", "OOMScoreAdjust") == "-900", "memory that runs out must not end the agent"


def test_the_order_of_things() -> None:
    host = Recorder()
    SCORE.interpret(host)
    assert host.commands == [
        "systemctl daemon-reload",
        "systemctl enable fleet-agent.service",
        "systemctl restart fleet-agent.service",
    ]
    host.commands.clear()
    assert not any(item.changed for item in SCORE.interpret(host))
    assert host.commands[-1] == "systemctl start fleet-agent.service"


OTHER = AgentConfig(DeviceId("pi-2"), "tls://nats.example.org:4222", AUTH)
ELSEWHERE = AgentConfig(DeviceId("pi-1"), "tls://nats.example.org:4222", msgspec.structs.replace(AUTH, project="4"))


@pytest.mark.parametrize("config", [OTHER, ELSEWHERE], ids=["another device", "another server"])
def test_a_host_of_another_identity_is_taken_only_when_that_is_said(config: AgentConfig) -> None:
    host = Recorder()
    SCORE.interpret(host)
    host.files["/var/lib/fleet/desired.json"] = (b'{"wishes":{"web":{},"db":{}}}', 0o600)
    before, host.commands = dict(host.files), []
    with pytest.raises(Conflict, match="db, web"):
        FleetDeviceSetupScore(config).interpret(host)
    assert (host.files, host.commands) == (before, [])
    FleetDeviceSetupScore(config, replace=True).interpret(host)
    assert parse_owners(host.read(REPLACED_PATH)) == [Owner.of(SCORE.config)]
    FleetDeviceSetupScore(SCORE.config, replace=True).interpret(host)
    assert parse_owners(host.read(REPLACED_PATH)) == [Owner.of(config)]


def test_a_new_key_or_address_is_the_same_identity() -> None:
    host = Recorder()
    SCORE.interpret(host)
    auth = msgspec.structs.replace(AUTH, machine_key=MachineKey("9", "9", "another key"), ca="renewed")
    FleetDeviceSetupScore(AgentConfig(DeviceId("pi-1"), "tls://moved.example.org:4222", auth)).interpret(host)
    assert REPLACED_PATH not in host.files


def test_what_the_agent_took_since_survives_the_same_set_up() -> None:
    host = Recorder()
    SCORE.interpret(host)
    taken = msgspec.structs.replace(AUTH, ca="a newer certificate", machine_key=MachineKey("1", "3", "a newer key"))
    host.files[CONFIG_PATH] = (render_config(msgspec.structs.replace(SCORE.config, auth=taken)), 0o600)
    assert not any(item.changed for item in SCORE.interpret(host))
    assert b"a newer certificate" in (host.read(CONFIG_PATH) or b"")
    # What somebody has written since is another configuration.
    edited = msgspec.structs.replace(SCORE.config, auth=msgspec.structs.replace(AUTH, ca="edited"))
    FleetDeviceSetupScore(edited).interpret(host)
    assert host.read(CONFIG_PATH) == render_config(edited)


def test_certificates_are_brought_to_a_device_by_hand() -> None:
    host, bundle = Recorder(), new_authority(new_key(), "another").decode()
    with pytest.raises(NotFound, match="set up as no device"):
        DeviceTrustScore(bundle).interpret(host)
    SCORE.interpret(host)
    host.commands.clear()
    config, done = DeviceTrustScore(bundle).interpret(host)
    assert (config.auth.ca, done.changed, host.files[CONFIG_PATH]) == (bundle, True, (render_config(config), 0o600))
    assert host.commands == ["systemctl restart fleet-agent.service"]
    assert config.auth.machine_key == AUTH.machine_key
    assert not DeviceTrustScore(bundle).interpret(host)[1].changed
    assert len(host.commands) == 1, "an agent that trusts it already is left alone"


@pytest.mark.parametrize("bundle", ["", "no certificate"])
def test_what_is_no_bundle_is_brought_to_nobody(bundle: str) -> None:
    host = Recorder()
    SCORE.interpret(host)
    before = dict(host.files)
    with pytest.raises(InvalidInput):
        DeviceTrustScore(bundle).interpret(host)
    assert host.files == before
