"""What devices write to NATS, by a user that may subscribe to two buckets and to heartbeats, and publish nothing.

The newest value of each key is read, a slice at a time, so that a device that writes without end costs what one read
of its key in each slice does.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fleet.contract.buckets import DEVICE_INFO, DEVICE_STATE, Bucket
from fleet.contract.errors import FleetError
from fleet.contract.states import DeviceStates
from fleet.contract.versions import page_name
from fleet.contract.wire import DeviceInfo
from fleet.nats.bus import DISCONNECTED, KV, RECONNECTED, BadEntry, Bus, Deleted, Delivery, Login, connect
from fleet.web.messages import Start
from fleet.web.source import CHECK_INTERVAL, NATS
from fleet.web.store import Store

_PAUSE = 0.02
"""Seconds between two slices."""
_SLICE = 200
"""Keys that are read at once."""
_MOST_KEYS = 1 << 15
"""Keys that wait to be read; more are left out, and said to be."""


class Subscriber:
    """The connection. What it hears goes into `Store`."""

    def __init__(self, store: Store) -> None:
        """Not connected yet."""
        self._store = store
        self._queue: dict[bytes, tuple[KV[Any], Delivery]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = 0

    async def run(self, start: Start) -> None:
        """Connect, however long it takes, and listen until cancelled.

        Raises:
            InvalidInput: the CA is no PEM certificate.
        """
        page = start.page
        login = Login(
            start.nats_url, page_name(page.key.encode()), start.ca, user=page.nats_user, password=page.nats_pass
        )
        bus = await connect(login, notice=self._on_notice)
        try:
            for bucket in (DEVICE_INFO, DEVICE_STATE):
                await self._subscribe(bus, bucket)
            self._store.heartbeats.connect(bus.wait_for)
            self._store.sources.mark_available(NATS)
            while True:
                await asyncio.sleep(CHECK_INTERVAL)
                await self._check(bus)
        finally:
            await bus.close()

    async def _subscribe(self, bus: Bus, bucket: Bucket[Any]) -> None:
        kv = bus.kv(bucket)
        await kv.listen("*", lambda delivery: self._enqueue(kv, delivery))

    async def _check(self, bus: Bus) -> None:
        """Have a sign of life; a lost connection is reported elsewhere."""
        try:
            await bus.ask()
            self._store.sources.mark_available(NATS)
        except FleetError as error:
            if bus.connected:
                self._store.sources.mark_unavailable(NATS, error.what)

    def _on_notice(self, said: str) -> None:
        if said == RECONNECTED:
            self._store.sources.mark_available(NATS)
            self._store.discard_reports()
        else:
            self._store.sources.mark_unavailable(NATS, "the connection is lost" if said == DISCONNECTED else said)

    def _enqueue(self, kv: KV[Any], delivery: Delivery) -> None:
        if len(self._queue) >= _MOST_KEYS and delivery.subject not in self._queue:
            self._dropped += 1
            return
        self._queue[delivery.subject] = (kv, delivery)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(0, self._drain)

    def _drain(self) -> None:
        for subject in list(self._queue)[:_SLICE]:
            kv, delivery = self._queue.pop(subject)
            self._process(kv, delivery)
        if self._dropped:
            self._store.add_invalid_message("NATS", "", f"{self._dropped} messages: too many keys at once")
            self._dropped = 0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_PAUSE, self._drain) if self._queue else None

    def _process(self, kv: KV[Any], delivery: Delivery) -> None:
        change = kv.read(delivery, time.time())
        if isinstance(change, Deleted):
            return
        if isinstance(change, BadEntry):
            source = DEVICE_INFO.name if b"device-info" in delivery.subject else DEVICE_STATE.name
            self._store.add_invalid_message(source, change.key, f"{change.why} ({delivery.size} bytes)")
        elif isinstance(change.value, DeviceInfo):
            self._store.update_info(change.key, change.value)
        elif isinstance(change.value, DeviceStates):
            self._store.update_states(change.key, change.value)
