"""Revocation on a real nats-server: the session ends, does not come back, and the neighbours notice nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fleet.contract.buckets import IDENTITIES
from fleet.contract.names import DeviceId
from fleet.contract.objects import DEVICES
from fleet.contract.wire import Identity, IdentityState
from fleet.nats.bus import Bus
from harness.errors import HarnessError
from harness.wait import wait_until
from tests.support.callout_stand_in import CalloutStandIn, callout_stand_in
from tests.support.operator import Operator
from tests.support.waiting import eventually

Name = Callable[[str], str]


def enrolled(operator: Operator, name: Name) -> str:
    device = name("pi")
    operator.add_device(device, subject=f"sub-{device}")
    operator.await_condition(DEVICES, device, "Enrolled", ("True", "IdentityRegistered"))
    return device


def eventually_gone(operator: Operator, subject: str) -> None:
    wait_until(
        lambda: operator.registry.get(IDENTITIES, subject),
        f"{subject} to be forgotten",
        timeout=30,
        until=lambda it: it is None,
    )


def revoke(operator: Operator, device: str) -> None:
    operator.edit_device(device, revoked=True)
    operator.await_condition(DEVICES, device, "Revoked", ("True", "SessionsDropped"))


async def stays_out(callout: CalloutStandIn, bus: Bus, device: str) -> None:
    """The session ended, and its device tries to come back, in vain."""
    await eventually(lambda: not bus.connected, f"the session of {device} ended")
    before = callout.refused.count(device)
    await eventually(lambda: callout.refused.count(device) >= before + 2, f"{device} was refused twice", within=15)
    assert not bus.connected


def test_a_revoked_device_loses_its_session_and_the_others_keep_theirs(operator: Operator, name: Name) -> None:
    bad, good = enrolled(operator, name), enrolled(operator, name)

    async def run() -> None:
        async with (
            callout_stand_in(operator.nats) as callout,
            callout.device(bad, f"sub-{bad}") as bad_bus,
            callout.device(good, f"sub-{good}") as good_bus,
        ):
            before = good_bus.client.stats["reconnects"]
            await asyncio.to_thread(revoke, operator, bad)
            assert not bad_bus.connected, "when it says so, it is so"
            await stays_out(callout, bad_bus, bad)
            assert good_bus.connected
            assert good_bus.client.stats["reconnects"] == before
            assert callout.let_in.count(bad) == 1

    asyncio.run(run())
    assert operator.condition(DEVICES, bad, "Online") == ("False", "Revoked")
    assert operator.registry.get(IDENTITIES, f"sub-{bad}") == Identity(DeviceId(bad), IdentityState.REVOKED)


def test_a_session_that_a_callout_allows_by_mistake_is_ended_whenever_it_begins(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout:
            callout.late = 3600
            await asyncio.to_thread(revoke, operator, device)
            async with callout.device(device, f"sub-{device}"):
                # It waits up to 4 s before it tries again.
                ended = "it was let in, and ended, again and again"
                await eventually(lambda: callout.let_in.count(device) >= 3, ended, within=20)

    asyncio.run(run())


def test_enrolling_again_ends_the_old_sessions_and_lets_the_new_one_in(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(device, f"sub-{device}") as old:
            await asyncio.to_thread(operator.edit_device, device, subject=f"new-{device}", enrollment=1)
            await stays_out(callout, old, device)
            async with callout.device(device, f"new-{device}") as new:
                assert new.connected
                assert callout.let_in.count(device) >= 2

    asyncio.run(run())
    assert operator.registry.get(IDENTITIES, f"sub-{device}") is None
    operator.await_condition(DEVICES, device, "Revoked", ("False", "NotRevoked"))


def test_moving_a_subject_does_not_let_another_machine_in(operator: Operator, name: Name) -> None:
    """Whoever may edit Devices would let the machine of one in under the name of another."""
    device, another = enrolled(operator, name), enrolled(operator, name)
    operator.delete_device(another)
    eventually_gone(operator, f"sub-{another}")
    for moved in ({"subject": f"sub-{another}"}, {"subject": ""}, {"subject": None}):
        with pytest.raises(HarnessError, match="fleet device enroll --replace"):
            operator.edit_device(device, **moved)
    operator.edit_device(device, labels={"ring": "a"})

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(device, f"sub-{device}") as own:
            assert own.connected
            assert callout.let_in == [device]

    asyncio.run(run())
    assert operator.registry.get(IDENTITIES, f"sub-{another}") is None


def test_a_device_that_is_deleted_while_connected_is_out(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(device, f"sub-{device}") as bus:
            await asyncio.to_thread(operator.delete_device, device)
            await stays_out(callout, bus, device)

    asyncio.run(run())
    assert operator.objects.device(device) is None
    assert operator.registry.get(IDENTITIES, f"sub-{device}") is None


def test_a_device_that_is_let_in_again_comes_back(operator: Operator, name: Name) -> None:
    device = enrolled(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats) as callout, callout.device(device, f"sub-{device}") as bus:
            await asyncio.to_thread(revoke, operator, device)
            await asyncio.to_thread(operator.edit_device, device, revoked=False)
            await eventually(lambda: bus.connected, "it is back", within=30)

    asyncio.run(run())
    operator.await_condition(DEVICES, device, "Revoked", ("False", "NotRevoked"))
