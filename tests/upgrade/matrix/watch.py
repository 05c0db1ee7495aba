"""What happened on a device, from the outside: who said that it lives, who wrote, who held the lease."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable

import msgspec

from fleet.contract.buckets import AGENT_LEASE, DEVICE_HEARTBEAT, DEVICE_INFO
from fleet.contract.wire import AgentLease, DeviceInfo, Heartbeat, T
from fleet.nats.bus import BadEntry, Bus, Change, Deleted, Entry, Login, connect
from harness.world.world import World


class Beat(msgspec.Struct, frozen=True):
    """A heartbeat, when it was heard (monotonic seconds)."""

    at: float
    beat: Heartbeat


class Watch:
    """Listens from `start` to `stop`; NATS may be restarted meanwhile."""

    def __init__(self, world: World, device: str) -> None:
        self._login = world.nats_login()
        self._device = device
        self.beats: list[Beat] = []
        self.infos: list[DeviceInfo] = []
        self.leases: list[AgentLease] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._listen()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10), "the watch hears nothing"

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(10)
        self._loop.close()

    @property
    def longest_silence(self) -> float:
        """Seconds between two heartbeats."""
        return max((later - earlier for earlier, later in self.silences()), default=0)

    def silences(self) -> list[tuple[float, float]]:
        """From each heartbeat to the next one."""
        return list(itertools.pairwise(one.at for one in self.beats))

    @property
    def writers(self) -> list[str]:
        """The instances that wrote, in order; one that comes twice wrote after another one had."""
        order: list[str] = []
        for info in self.infos:
            if not order or order[-1] != info.instance_id:
                order.append(info.instance_id)
        return order

    async def _listen(self) -> None:
        login = self._login
        bus: Bus = await connect(
            Login(login.url, "watch", login.ca, user=login.user, password=login.password), notice=lambda _: None
        )
        await bus.kv(DEVICE_HEARTBEAT).follow(self._device, _into(lambda it: self.beats.append(Beat(_now(), it))))
        await bus.kv(DEVICE_INFO).follow(self._device, _into(self.infos.append))
        await bus.kv(AGENT_LEASE).follow(self._device, _into(self.leases.append))
        self._ready.set()
        await self._over.wait()
        await bus.close()


def _now() -> float:
    return time.monotonic()


def _into(keep: Callable[[T], None]) -> Change[T]:
    async def heard(change: Entry[T] | BadEntry | Deleted) -> None:
        if isinstance(change, Entry):
            keep(change.value)

    return heard
