"""Hearing what devices write: in a thread, an event loop and a connection of its own.

However much a device writes, the operator's own loop sees the newest value of each key, a slice at a time: the
revocation of that device, and everything else, goes on beside it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import structlog

from fleet.bus import KV, BadEntry, Bus, Deleted, Entry, Login, Notice, connect
from fleet.contract.buckets import Bucket
from fleet.contract.errors import Unreachable
from fleet.contract.wire import T

log = structlog.get_logger()

R = TypeVar("R")
Change = Entry[T] | BadEntry | Deleted
Heard = Callable[[Any], None]

_PAUSE = 0.02
"""Seconds between two slices: a key is read at most so often, whatever its writer does."""
_SLICE = 500
"""Keys that are read and handed on at once."""
_MOST_KEYS = 1 << 16
"""Keys that wait to be read; beyond them all is read again."""
_JOIN = 2.0


class Source(Protocol):
    """Where the keys of buckets are read and heard."""

    async def follow(self, bucket: Bucket[T], pattern: str, heard: Callable[[Change[T]], None]) -> None:
        """Call `heard` for the newest value of every key that was written, from now on."""
        ...

    async def read_all(self, bucket: Bucket[T], pattern: str) -> list[Entry[T] | BadEntry]:
        """Every live key that matches."""
        ...


class Direct:
    """A source that no device writes to, on a connection of the operator's own loop."""

    def __init__(self, bus: Bus) -> None:
        """Read by this connection."""
        self._bus = bus

    async def follow(self, bucket: Bucket[T], pattern: str, heard: Callable[[Change[T]], None]) -> None:
        """See `Source`.

        Raises:
            FleetError: NATS did not answer.
        """

        async def changed(change: Change[T]) -> None:
            heard(change)

        await self._bus.kv(bucket).follow(pattern, changed)

    async def read_all(self, bucket: Bucket[T], pattern: str) -> list[Entry[T] | BadEntry]:
        """See `Source`.

        Raises:
            FleetError: NATS did not answer.
        """
        return await self._bus.kv(bucket).read_all(pattern)


class Waiting:
    """What was heard and not read yet: the newest of each key."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._newest: dict[bytes, tuple[KV[Any], Heard, bytes | None, float]] = {}
        self.overflown = False

    def put(self, subject: bytes, kv: KV[Any], heard: Heard, data: bytes | None) -> None:
        """A key was written."""
        if len(self._newest) >= _MOST_KEYS and subject not in self._newest:
            self.overflown = True
            return
        self._newest[subject] = (kv, heard, data, time.time())

    def take(self) -> list[tuple[Heard, Change[Any]]]:
        """The next slice, read."""
        subjects = list(self._newest)[:_SLICE] if len(self._newest) > _SLICE else list(self._newest)
        taken = [(subject, *self._newest.pop(subject)) for subject in subjects]
        return [(heard, kv.read(subject, data, received)) for subject, kv, heard, data, received in taken]

    def __len__(self) -> int:
        return len(self._newest)


class Reader:
    """The connection that hears devices, and its thread. `missed` is called when something was not kept."""

    def __init__(self, login: Login, notice: Notice, missed: Callable[[], None]) -> None:
        """Not connected yet. `notice` and `missed` are called in the loop that makes the reader."""
        self._ours = asyncio.get_running_loop()
        self._login = login
        self._notice = notice
        self._missed = missed
        self._waiting = Waiting()
        self._handing_on = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reader", daemon=True)
        self._bus: Bus | None = None

    async def start(self) -> None:
        """Connect, however long it takes.

        Raises:
            InvalidInput: the CA is no PEM certificate.
        """
        self._thread.start()
        self._bus = await self._there(connect(self._login, notice=self._say))

    async def close(self) -> None:
        """End the connection, and the thread."""
        if self._bus is not None:
            await self._there(self._bus.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, _JOIN)
        if not self._thread.is_alive():
            self._loop.close()

    async def follow(self, bucket: Bucket[T], pattern: str, heard: Callable[[Change[T]], None]) -> None:
        """See `Source`.

        Raises:
            FleetError: NATS did not answer.
        """
        kv = self._connected().kv(bucket)

        def keep(subject: bytes, data: bytes | None) -> None:
            self._waiting.put(subject, kv, heard, data)
            if not self._handing_on:
                self._handing_on = True
                self._loop.call_soon(self._hand_on)

        await self._there(kv.listen(pattern, keep))

    async def read_all(self, bucket: Bucket[T], pattern: str) -> list[Entry[T] | BadEntry]:
        """See `Source`.

        Raises:
            FleetError: NATS did not answer.
        """
        return await self._there(self._connected().kv(bucket).read_all(pattern))

    def _connected(self) -> Bus:
        if self._bus is None:
            raise Unreachable("NATS is not connected yet", next_step="wait until it is")
        return self._bus

    async def _there(self, work: Coroutine[Any, Any, R]) -> R:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _say(self, said: str) -> None:
        self._ours.call_soon_threadsafe(self._notice, said)

    def _hand_on(self) -> None:
        """In the reader's thread: the next slice. The one after it waits until this one was taken."""
        if self._waiting.overflown:
            self._waiting.overflown = False
            self._ours.call_soon_threadsafe(self._missed)
        self._ours.call_soon_threadsafe(self._take, self._waiting.take())

    def _take(self, heard: list[tuple[Heard, Change[Any]]]) -> None:
        """In our own thread."""
        try:
            for tell, change in heard:
                tell(change)
        finally:
            self._loop.call_soon_threadsafe(self._loop.call_later, _PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._handing_on = bool(len(self._waiting))
        if self._handing_on:
            self._hand_on()
