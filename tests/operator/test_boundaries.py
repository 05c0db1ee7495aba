"""What nobody foresaw in one item from outside ends neither a reader nor a task of the operator or the callout."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fleet.callout.metrics import Metrics as CalloutMetrics
from fleet.callout.registry import Registry
from fleet.contract.wire import Identity
from fleet.nats.bus import KV, BadEntry, Deleted
from fleet.nats.headers import Delivery
from fleet.operator.act.session_dropper import SessionDropper
from fleet.operator.meter import Flood
from fleet.operator.metrics import Metrics
from fleet.operator.quarantines import Quarantines
from fleet.operator.reader import ChangeQueue, deliver
from fleet.operator.revocations import Revocations
from fleet.operator.store import Store
from tests.support.waiting import eventually


def odd() -> ValueError:
    return ValueError("Exceeds the limit (4300 digits)")


def nobody(change: object, reply: bytes) -> None:
    """Takes no change."""


class OddOnce:
    """Stands for a store, a bucket or a view: the first use of anything of it fails."""

    prefix = 4

    def __init__(self) -> None:
        self.uses = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - anything
        self.uses += 1
        if self.uses == 1:
            raise odd()
        raise asyncio.CancelledError

    def read(self, delivery: Delivery, received: float) -> Deleted:
        del received
        if delivery.subject.endswith(b"bad"):
            raise odd()
        return Deleted("good")


def test_a_message_that_cannot_be_read_is_a_bad_entry_and_the_reader_goes_on() -> None:
    waiting, kv = ChangeQueue(), cast("KV[Any]", OddOnce())
    for key in (b"$KV.bad", b"$KV.good"):
        waiting.put(kv, nobody, Delivery(key, b"", b"{}", 10))
    bad, good = (change for _, change, _ in waiting.take())
    assert isinstance(bad, BadEntry)
    assert "4300 digits" in bad.why
    assert good == Deleted("good")


def test_a_change_that_its_taker_fails_over_keeps_no_other_from_him() -> None:
    taken: list[str] = []

    def take(change: Any, _: bytes) -> None:  # noqa: ANN401 - of any bucket
        if change.key == "bad":
            raise odd()
        taken.append(change.key)

    deliver([(take, Deleted("bad"), b""), (take, Deleted("good"), b"")])
    assert taken == ["good"]


def test_a_flood_that_cannot_be_judged_keeps_no_other_flooder_in() -> None:
    store = OddOnce()

    async def run() -> None:
        floods: asyncio.Queue[Flood] = asyncio.Queue()
        for name in ("pi-1", "pi-2"):
            floods.put_nowait(Flood(name, 1, 1, 0.0, 1.0, did="sent"))
        quarantines = Quarantines(
            cast("Store", store), cast("KV[Identity]", None), cast("SessionDropper", None), Metrics(), lambda: None
        )
        with pytest.raises(asyncio.CancelledError):
            await quarantines.run(floods)

    asyncio.run(run())
    assert store.uses == 2


def test_a_device_whose_revocation_fails_is_tried_again_and_keeps_no_other_in() -> None:
    asked: list[str] = []

    class Odd:
        def __init__(self) -> None:
            self.identities = dict[str, Identity]()
            self.dropped = dict[str, frozenset[str]]()

        def barred(self, device: str) -> bool:
            asked.append(device)
            if asked.count("pi-1") == 2 and device == "pi-1":
                raise odd()
            return True

        def subjects_of(self, _: str) -> list[str]:
            return []

    async def run() -> None:
        revocations = Revocations(cast("Store", Odd()), cast("KV[Identity]", None), cast("SessionDropper", None))
        revocations.look("pi-1")
        revocations.look("pi-2")
        task = asyncio.create_task(revocations.run())
        await eventually(lambda: asked.count("pi-2") >= 2 and asked.count("pi-1") >= 4, "both were judged")
        task.cancel()

    asyncio.run(run())


def test_a_registry_that_cannot_be_read_once_is_read_again() -> None:
    kv = OddOnce()
    registry = Registry(CalloutMetrics())

    async def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            await registry.keep(cast("KV[Identity]", kv))

    asyncio.run(run())
    assert kv.uses == 2
