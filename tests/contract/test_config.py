"""Whose eyes a part's configuration is for."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey, OperatorConfig, load_config, render_config
from fleet.contract.errors import InvalidInput
from fleet.contract.names import DeviceId
from tests.contract.samples import SAMPLES

CONFIG = SAMPLES["operator-config"]


@pytest.mark.parametrize(
    ("mode", "owner", "good"),
    [
        (0o600, "us", True),
        (0o400, "us", True),
        (0o440, "us", False),
        (0o440, "another", True),
        (0o444, "another", False),
        (0o460, "another", False),
    ],
)
def test_only_its_reader_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owner: str, good: bool
) -> None:
    """A pod's Secret is root's, and its user reads it as a member of the group (Kubernetes, `fsGroup`)."""
    assert isinstance(CONFIG, OperatorConfig)
    path = tmp_path / "operator.json"
    path.write_bytes(render_config(CONFIG))
    path.chmod(mode)
    if owner == "another":
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    if good:
        assert load_config(path, OperatorConfig) == CONFIG
    else:
        with pytest.raises(InvalidInput, match=f"mode {mode:04o}.*secret"):
            load_config(path, OperatorConfig)


def test_an_agent_of_this_release_reads_what_a_later_one_writes() -> None:
    """It refuses names that it does not know: what is added to the file is written only where somebody has set it.

    Add a new field to `AgentConfig` so that `render_config` leaves it out while it has its default; this list stays.
    """
    auth = FleetDeviceAuth("https://id.example.org", "1", MachineKey("1", "2", "k"), "c")
    told = msgspec.json.decode(render_config(AgentConfig(DeviceId("pi-1"), "tls://nats:4222", auth)))
    assert told.keys() == {
        *("deviceId", "natsUrl", "auth", "engineSocket", "heartbeatInterval", "resyncInterval", "upgrade"),
    }
    assert told["auth"].keys() == {"issuer", "project", "machineKey", "ca"}
    assert told["auth"]["machineKey"].keys() == {"userId", "keyId", "key", "type", "expirationDate"}
    assert told["upgrade"].keys() == {
        *("drain", "heartbeat", "stop", "stepDown", "escalate", "take", "confirm", "retry", "lease", "patience"),
        "selfTest",
    }
