"""A device that floods: it is revoked as fast as any other, and harms nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fleet.contract.buckets import DEVICE_HEARTBEAT
from fleet.contract.names import AgentVersion
from fleet.contract.objects import DEVICES
from fleet.contract.wire import Heartbeat, encode
from harness.wait import wait_until
from tests.operator.test_sessions import enrolled
from tests.support.door import open_door
from tests.support.flood import Flood, flood
from tests.support.operator import Operator

Name = Callable[[str], str]

BEAT = encode(Heartbeat(AgentVersion("v0.1.0"), "instance", "boot", 1, 10))
RATE = 22_000
"""Messages a second."""
LONGEST = 20.0
"""Seconds after which a flood ends by itself."""


def test_a_flooding_device_is_revoked_within_a_second(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)

    def revoke() -> tuple[float, Flood]:
        subject = DEVICE_HEARTBEAT.subject(device)
        with flood(operator.nats, f"sub-{device}", subject, BEAT, rate=RATE, longest=LONGEST) as seen:
            wait_until(lambda: seen.sent, "it floods for a while", timeout=20, until=lambda sent: sent >= 6 * RATE)
            started = time.monotonic()
            operator.edit_device(device, revoked=True)
            wait_until(lambda: seen.ended, "its session ended", timeout=LONGEST, interval=0.005)
            return seen.ended - started, seen

    async def run() -> tuple[float, Flood]:
        async with open_door(operator.nats):
            return await asyncio.to_thread(revoke)

    took, seen = asyncio.run(run())
    assert took < 1, seen
    assert operator.metric("fleet_operator_heartbeats_total") < seen.sent / 50, "only the newest of a key is read"
    operator.await_condition(DEVICES, device, "Revoked", ("True", "SessionsDropped"))
    assert not operator.readiness()
