"""A device that floods: it is shut out, revoked as fast as any other, and harms nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fleet.agent.report import Reporter
from fleet.contract.buckets import DEVICE_HEARTBEAT, IDENTITIES
from fleet.contract.limits import MAX_DEPLOYMENTS
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.objects import DEVICES
from fleet.contract.wire import DeviceState, Heartbeat, Identity, IdentityState, Phase, Quarantine, Reason, encode
from fleet.nats.bus import Bus
from harness.wait import wait_until
from tests.operator.test_sessions import enrolled
from tests.support.callout_stand_in import CalloutStandIn, callout_stand_in
from tests.support.flood import Flood, flood
from tests.support.operator import INFO, Operator
from tests.support.waiting import eventually

Name = Callable[[str], str]

BEAT = encode(Heartbeat(AgentVersion("v0.1.0"), "instance", "boot", 1, 10))
RATE = 22_000
"""Messages a second."""
LONGEST = 20.0
"""Seconds after which a flood ends by itself."""


def shut_out(operator: Operator, device: str) -> tuple[float, Flood]:
    """The seconds that it took to end the session of a device that floods."""
    subject = DEVICE_HEARTBEAT.subject(device)
    started = time.monotonic()
    with flood(operator.nats, f"sub-{device}", subject, BEAT, rate=RATE, longest=LONGEST) as seen:
        wait_until(lambda: seen.ended, "its session ended", timeout=LONGEST, interval=0.005)
    return seen.ended - started, seen


def test_a_device_that_floods_again_and_again_is_shut_out_until_an_admin_lets_it_in(
    operator: Operator, name: Name
) -> None:
    device, honest = enrolled(operator, name), enrolled(operator, name)
    twice = Quarantine(began=time.time(), times=2, why="it flooded twice today")
    operator.registry.put(IDENTITIES, f"sub-{device}", Identity(DeviceId(device), IdentityState.ACTIVE, twice))
    operator.await_condition(DEVICES, device, "Quarantined", ("False", "Over"))

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(honest, f"sub-{honest}") as neighbour:
            took, seen = await asyncio.to_thread(shut_out, operator, device)
            assert took < LONGEST, seen
            await asyncio.to_thread(operator.await_condition, DEVICES, device, "Quarantined", ("True", "Flooding"))
            await asyncio.to_thread(all_is_read)
            await comes_back(callout)
            assert neighbour.connected
            assert neighbour.client.stats["reconnects"] == 0

    def all_is_read() -> None:
        """NATS hands messages on in their order. What is left of the flood would count as another one."""
        operator.beat(honest)
        operator.await_condition(DEVICES, honest, "Online", ("True", "HeartbeatReceived"))

    async def comes_back(callout: CalloutStandIn) -> None:
        await asyncio.to_thread(operator.edit_device, device, released=1)
        async with callout.device(device, f"sub-{device}") as bus:
            await eventually(lambda: bus.connected, "it is let in", within=30)

    asyncio.run(run())
    operator.await_condition(DEVICES, device, "Quarantined", ("False", "Released"))
    assert operator.condition(DEVICES, honest, "Quarantined") is None

    def told() -> dict[str, str]:
        return {one["reason"]: one["message"] for one in operator.events(device)}

    seen = wait_until(told, "its release is told", timeout=30, until=lambda told: "Released" in told)
    assert "right are 100 messages" in seen["Flooding"]
    assert operator.metric("fleet_operator_quarantines_total") >= 1
    assert not operator.readiness()


def test_a_quarantine_of_seconds_ends_by_itself(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats):
            await asyncio.to_thread(shut_out, operator, device)

    asyncio.run(run())
    operator.await_condition(DEVICES, device, "Quarantined", ("True", "Throttled"))
    operator.await_condition(DEVICES, device, "Quarantined", ("False", "Over"), timeout=15)
    entry = operator.registry.get(IDENTITIES, f"sub-{device}")
    assert entry is not None
    assert entry.state is IdentityState.ACTIVE
    assert entry.quarantine is not None, "the next one is longer"


def test_a_device_is_revoked_while_it_floods(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)

    def revoke() -> float:
        subject = DEVICE_HEARTBEAT.subject(device)
        with flood(operator.nats, f"sub-{device}", subject, BEAT, rate=RATE, longest=LONGEST) as seen:
            wait_until(lambda: seen.sent, "it floods", timeout=30)
            started = time.monotonic()
            operator.edit_device(device, revoked=True)
            wait_until(lambda: seen.ended, "its session ended", timeout=LONGEST, interval=0.005)
            operator.await_condition(DEVICES, device, "Revoked", ("True", "SessionsDropped"), timeout=LONGEST)
            return seen.ended - started

    async def run() -> float:
        async with callout_stand_in(operator.nats):
            return await asyncio.to_thread(revoke)

    assert asyncio.run(run()) < LONGEST / 2  # how soon is measured: `python -m benchmarks flooded`
    assert not operator.readiness()


def test_an_honest_device_that_comes_back_with_much_to_say_is_not_shut_out(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)
    names = [f"app-{number}" for number in range(MAX_DEPLOYMENTS)]

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(device, f"sub-{device}") as bus:
            reporter = Reporter(DeviceId(device), INFO, lambda _: None)
            work = asyncio.create_task(reporter.publish(bus))
            try:
                for number in range(1, 4):
                    await says_it_all(bus, reporter, number)
            finally:
                work.cancel()
            assert device not in callout.refused

    async def says_it_all(bus: Bus, reporter: Reporter, number: int) -> None:
        """As after an outage in which everything changed."""
        before = bus.client.stats["out_msgs"]
        states = {one: DeviceState(number, Phase.RUNNING, Reason.STARTED) for one in names}
        reporter.states(states, frozenset(names))
        if number > 1:
            await bus.reconnect()
            await eventually(lambda: bus.connected, "it is back", within=30)
            reporter.anew()
        told = lambda: bus.client.stats["out_msgs"] - before > 0  # noqa: E731
        await eventually(told, "all is told", within=20)

    asyncio.run(run())
    assert operator.condition(DEVICES, device, "Quarantined") is None
