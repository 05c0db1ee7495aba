"""Who is quarantined for a flood: not a device that was let in again after the flood was counted."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import cast

import pytest

from fleet.contract.names import DeviceId
from fleet.contract.objects import FINALIZER, Device, DeviceSpec, Metadata
from fleet.contract.wire import Identity, IdentityState
from fleet.nats.bus import KV
from fleet.operator.act.session_dropper import SessionDropper
from fleet.operator.meter import TRACED, WILDCARD, Flood
from fleet.operator.metrics import Metrics
from fleet.operator.quarantines import Quarantines
from fleet.operator.reconcile.quarantine import quarantined
from fleet.operator.store import Store
from tests.support.waiting import eventually

PI = DeviceId("pi-1")
ACTIVE = Identity(PI, IdentityState.ACTIVE)
DEVICE = Device(Metadata(PI, finalizers=(FINALIZER,)), DeviceSpec("sub-1"))


class World:
    """What quarantines work on: nothing is sent anywhere."""

    def __init__(self) -> None:
        self.store = Store(3)
        self.store.devices.items[PI] = DEVICE
        self.store.put_identity("sub-1", ACTIVE)
        self.written: list[Identity] = []
        self.done: list[str] = []

    async def put(self, _: str, identity: Identity) -> None:
        self.written.append(identity)
        self.done.append("deny")

    async def cut(self, device: str) -> None:
        self.done.append(f"end what is known of {device}")

    def begin(self, _: object) -> None:
        self.done.append("end all")

    def flood(self, *floods: Flood) -> list[Identity]:
        """What the registry is told of these floods."""

        async def run() -> None:
            queue: asyncio.Queue[Flood] = asyncio.Queue()
            for one in floods:
                queue.put_nowait(one)
            work = asyncio.create_task(quarantines.run(queue))
            await eventually(queue.empty, "all floods are judged")
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

        quarantines = Quarantines(
            self.store, cast("KV[Identity]", self), cast("SessionDropper", self), Metrics(), lambda: None
        )
        asyncio.run(run())
        return self.written


def counted_since(moment: float) -> Flood:
    return Flood(PI, 1000, 1000, moment, 1.0)


def test_a_flood_keeps_its_device_out_once() -> None:
    (identity,) = World().flood(counted_since(time.monotonic()), counted_since(time.monotonic()))
    assert identity.state is IdentityState.QUARANTINED


def test_a_flood_is_denied_before_its_sessions_end() -> None:
    world = World()
    (identity,) = world.flood(counted_since(time.monotonic()))
    assert world.done == ["deny", "end all"]
    assert identity.quarantine is not None
    assert identity.quarantine.until > 0


@pytest.mark.parametrize("did", [WILDCARD, TRACED])
def test_what_no_agent_does_ends_sessions_at_once_and_has_no_end(did: str) -> None:
    """Each message of it counts, so what is known ends before the registry is asked."""
    world = World()
    (identity,) = world.flood(Flood(PI, 1, 0, time.monotonic(), 0.0, did=did))
    assert world.done == [f"end what is known of {PI}", "deny", "end all"]
    assert not identity.admitted(time.time() + 10 * 365 * 86_400)


def test_what_was_counted_before_a_device_was_let_in_again_is_not_held_against_it() -> None:
    world = World()
    during = time.monotonic()
    world.store.put_identity("sub-1", quarantined(ACTIVE, DEVICE, "it floods", time.time()))
    world.store.put_identity("sub-1", ACTIVE)
    assert world.flood(counted_since(during)) == []
    (identity,) = world.flood(counted_since(time.monotonic()))
    assert identity.state is IdentityState.QUARANTINED


def test_a_device_whose_release_is_not_written_yet_begins_no_other_quarantine() -> None:
    """Its messages of before can still arrive then."""
    world = World()
    began = time.time() - 3600
    world.store.put_identity("sub-1", quarantined(ACTIVE, DEVICE, "it floods", began))
    assert world.flood(counted_since(time.monotonic())) == []


def test_what_is_known_of_a_device_that_is_gone_is_forgotten() -> None:
    world = World()
    world.store.put_identity("sub-1", quarantined(ACTIVE, DEVICE, "it floods", time.time()))
    world.store.put_identity("sub-1", ACTIVE)
    assert world.store.admitted.get(PI, -math.inf) > 0
    world.store.forget_device(PI)
    assert world.store.admitted == {}
