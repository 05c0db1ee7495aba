"""What `fleet device setup` puts on a host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey
from fleet.contract.names import DeviceId
from fleet.scores.setup import CONFIG_PATH, UNIT_PATH, FleetDeviceSetupScore
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
    part = unit.part(tmp_path, "agent", {"PATH": "/usr/bin:/bin"})
    assert part.argv[1:] == ("run",)
    assert part.restart == "always"
    assert unit.wanted_by == ["multi-user.target"]
    assert unit.last("Service", "KillMode") == "mixed", "an agent's end must not end what runs beside it"


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
