"""What devices write to NATS, by a user that may subscribe to two buckets and publish nothing.

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
from fleet.web.source import LOOK, NATS
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
        self._waiting: dict[bytes, tuple[KV[Any], Delivery]] = {}
        self._turn: asyncio.TimerHandle | None = None
        self._left_out = 0

    async def run(self, start: Start) -> None:
        """Connect, however long it takes, and listen until cancelled.

        Raises:
            InvalidInput: the CA is no PEM certificate.
        """
        page = start.page
        login = Login(
            start.nats_url, page_name(page.key.encode()), start.ca, user=page.nats_user, password=page.nats_pass
        )
        bus = await connect(login, notice=self._notice)
        try:
            for bucket in (DEVICE_INFO, DEVICE_STATE):
                await self._listen(bus, bucket)
            self._store.sources.back(NATS)
            while True:
                await asyncio.sleep(LOOK)
                await self._look(bus)
        finally:
            await bus.close()

    async def _listen(self, bus: Bus, bucket: Bucket[Any]) -> None:
        kv = bus.kv(bucket)
        await kv.listen("*", lambda delivery: self._keep(kv, delivery))

    async def _look(self, bus: Bus) -> None:
        """Have a sign of life; a lost connection is reported elsewhere."""
        try:
            await bus.ask()
            self._store.sources.back(NATS)
        except FleetError as error:
            if bus.connected:
                self._store.sources.away(NATS, error.what)

    def _notice(self, said: str) -> None:
        if said == RECONNECTED:
            self._store.sources.back(NATS)
            self._store.forget_said()
        else:
            self._store.sources.away(NATS, "the connection is lost" if said == DISCONNECTED else said)

    def _keep(self, kv: KV[Any], delivery: Delivery) -> None:
        if len(self._waiting) >= _MOST_KEYS and delivery.subject not in self._waiting:
            self._left_out += 1
            return
        self._waiting[delivery.subject] = (kv, delivery)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_later(0, self._read)

    def _read(self) -> None:
        for subject in list(self._waiting)[:_SLICE]:
            kv, delivery = self._waiting.pop(subject)
            self._take(kv, delivery)
        if self._left_out:
            self._store.heard_badly("NATS", "", f"{self._left_out} messages: too many keys at once")
            self._left_out = 0
        loop = asyncio.get_running_loop()
        self._turn = loop.call_later(_PAUSE, self._read) if self._waiting else None

    def _take(self, kv: KV[Any], delivery: Delivery) -> None:
        change = kv.read(delivery, time.time())
        if isinstance(change, Deleted):
            return
        if isinstance(change, BadEntry):
            source = DEVICE_INFO.name if b"device-info" in delivery.subject else DEVICE_STATE.name
            self._store.heard_badly(source, change.key, f"{change.why} ({delivery.size} bytes)")
        elif isinstance(change.value, DeviceInfo):
            self._store.heard_info(change.key, change.value)
        elif isinstance(change.value, DeviceStates):
            self._store.heard_states(change.key, change.value)
