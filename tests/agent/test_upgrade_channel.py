"""What an upgrade is told of the connection."""

from __future__ import annotations

import pytest

from fleet.agent.upgrade.device.channel import UpgradeChannel
from fleet.agent.upgrade.protocol.events import Connected, Disconnected, Event
from fleet.contract.names import DeviceId
from fleet.nats.bus import DISCONNECTED, RECONNECTED


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (DISCONNECTED, [Disconnected()]),
        (RECONNECTED, [Connected()]),
        ("Error: nats: 'Authorization Violation'", [Connected()]),
        ("ConnectionRefusedError: [Errno 111] Connect call failed", []),
        ("TimeoutError: it did not decide on the login in time", []),
    ],
)
def test_a_refused_login_is_an_answer_and_an_outage_is_none(said: str, told: list[Event]) -> None:
    heard: list[Event] = []
    UpgradeChannel(DeviceId("pi-1"), 60, heard.append).notice(said)
    assert heard == told
