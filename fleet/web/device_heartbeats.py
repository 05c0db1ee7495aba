"""The last heartbeat of each device whose screen is open.

The page follows no other device, so a fleet of any size costs it nothing. It asks for one notice at a time, which has
no value: a device that sends heartbeats without end costs NATS, the page and the browser one a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fleet.contract.buckets import DEVICE_HEARTBEAT
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.names import DeviceId

_INTERVAL = 1.0
"""Seconds between a heartbeat and the request for the next one."""
_LINGER = 30.0
"""Seconds for which a device is followed after its last screen closed: a proxy may have cut that one's stream."""
_LINGERING = 50
"""Devices that are followed without a screen, the most."""

Listener = Callable[[], None]
Wait = Callable[[str], Awaitable[None]]
"""Waits for the next message on a subject. It raises `FleetError` where none can come."""


class _Followed:
    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.task: asyncio.Task[None] | None = None
        self.at: float | None = None


class DeviceHeartbeats:
    """Those that are followed, by device."""

    def __init__(
        self, now: Callable[[], float], *, interval: float = _INTERVAL, linger: float = _LINGER, most: int = _LINGERING
    ) -> None:
        """Nobody is followed. `now` is in Unix seconds; for the others see `_INTERVAL`, `_LINGER` and `_LINGERING`."""
        self._now = now
        self._interval, self._linger, self._most = interval, linger, most
        self._followed: dict[str, _Followed] = {}
        self._lingering: dict[str, asyncio.TimerHandle] = {}
        self._wait: asyncio.Future[Wait] | None = None

    @property
    def devices(self) -> frozenset[str]:
        """The devices that are followed."""
        return frozenset(self._followed)

    def connect(self, wait: Wait) -> None:
        """From now on heartbeats can be heard."""
        if not self._source.done():
            self._source.set_result(wait)

    def last(self, device: str) -> float | None:
        """When a heartbeat of the device was heard last, in Unix seconds."""
        known = self._followed.get(device)
        return known.at if known else None

    def follow(self, device: str, listener: Listener) -> Callable[[], None]:
        """Have `listener` called after every heartbeat, at most once in `_INTERVAL`; returns what ends that."""
        try:
            DeviceId(device)
        except InvalidInput:  # an object of that name is never a device's
            return lambda: None
        if (timer := self._lingering.pop(device, None)) is not None:
            timer.cancel()
        known = self._followed.setdefault(device, _Followed())
        known.listeners.append(listener)
        if known.task is None or known.task.done():
            known.task = asyncio.create_task(self._listen(device, known), name=f"heartbeats of {device}")
        return lambda: self._release(device, known, listener)

    async def close(self) -> None:
        """Follow nobody any more."""
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()
        tasks = [known.task for known in self._followed.values() if known.task is not None]
        for device in tuple(self._followed):
            self._end(device)
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _source(self) -> asyncio.Future[Wait]:
        if self._wait is None:
            self._wait = asyncio.get_running_loop().create_future()
        return self._wait

    async def _listen(self, device: str, known: _Followed) -> None:
        wait = await asyncio.shield(self._source)
        while True:
            try:
                await wait(DEVICE_HEARTBEAT.changed(device))
            except FleetError:
                pass  # the page says itself that NATS is away
            else:
                known.at = self._now()
                for listener in tuple(known.listeners):
                    listener()
            await asyncio.sleep(self._interval)

    def _release(self, device: str, known: _Followed, listener: Listener) -> None:
        known.listeners.remove(listener)
        if known.listeners or self._followed.get(device) is not known:
            return
        self._lingering[device] = asyncio.get_running_loop().call_later(self._linger, self._end, device)
        while len(self._lingering) > self._most:
            self._end(next(iter(self._lingering)))

    def _end(self, device: str) -> None:
        if (timer := self._lingering.pop(device, None)) is not None:
            timer.cancel()
        known = self._followed.pop(device)
        if known.task is not None:
            known.task.cancel()
