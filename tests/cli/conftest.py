from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.cli.main import main
from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, render_config
from fleet.contract.names import DeviceId

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - that it is JSON is what is tested
        return msgspec.json.decode(self.out)


Fleet = Callable[..., Answer]


@pytest.fixture(autouse=True)
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that knows no cluster, no login and no identity provider."""
    for name in ("FLEET_NAMESPACE", "FLEET_ADMIN_TOKEN_FILE", "FLEET_ADMIN_OIDC_CLIENT_ID", "FLEET_TOPOLOGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("FLEET_DEBUG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/.config"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fleet:
    """Type a command: `fleet("device", "list")`."""

    def run(*words: str) -> Answer:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["fleet", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, out, err)

    return run


@pytest.fixture
def agent_config(tmp_path: Path) -> Path:
    """A configuration such as `fleet device enroll` writes."""
    key = MachineKey("1", "2", "a private key")
    auth = FleetDeviceAuth("https://id.example.org", "3", key, "a certificate")
    path = tmp_path / "pi-1.json"
    path.touch(0o600)
    path.write_bytes(render_config(AgentConfig(DeviceId("pi-1"), "tls://nats.example.org:4222", auth)))
    return path
