"""What devices report is read whole, also while they write: a read of all keys can miss one that changes."""

from __future__ import annotations

import asyncio
from typing import cast

from fleet.contract.buckets import DEVICE_HEARTBEAT, Bucket
from fleet.contract.names import AgentVersion
from fleet.contract.wire import Heartbeat
from fleet.nats.bus import Bus, Entry
from fleet.rotation.devices.ground import read_reports

BEAT = Heartbeat(AgentVersion("v0.1.0"), "i", "b", 1, 1.0, key_id="key-1")


class Overwritten:
    """A bucket of which a read of all missed what `get` has."""

    def __init__(self, bucket: Bucket[Heartbeat]) -> None:
        self._has = {"pi-1": Entry("pi-1", BEAT, 7, 1.0)} if bucket is DEVICE_HEARTBEAT else {}

    async def read_all(self) -> list[Entry[Heartbeat]]:
        return []

    async def get(self, key: str) -> Entry[Heartbeat] | None:
        return self._has.get(key)


class Buckets:
    def kv(self, bucket: Bucket[Heartbeat]) -> Overwritten:
        return Overwritten(bucket)


def test_a_heartbeat_that_was_written_over_meanwhile_is_not_missed() -> None:
    found = asyncio.run(read_reports(cast("Bus", Buckets()), ["pi-1", "pi-2"]))
    assert {device: one.value.key_id for device, one in found.beats.items()} == {"pi-1": "key-1"}
    assert not found.infos
