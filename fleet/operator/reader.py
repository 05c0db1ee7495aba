"""Reads what devices write, in a thread with an event loop and a NATS connection of its own.

However much a device writes, the operator's own loop sees the newest value of each key, a slice at a time: the
revocation of that device, and everything else, goes on beside it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import structlog

from fleet.contract.buckets import Bucket
from fleet.contract.errors import Unreachable, why
from fleet.contract.wire import T
from fleet.nats.bus import KV, BadEntry, Bus, Deleted, Delivery, Entry, Login, MessageHandler, Notice, connect
from fleet.nats.headers import text
from fleet.operator.meter import Flood, Meter

log = structlog.get_logger()

R = TypeVar("R")
Change = Entry[T] | BadEntry | Deleted
ChangeCallback = Callable[[Any, bytes], None]
"""Takes a change, and the subject that waits for an answer to it, if any."""

_PAUSE = 0.02
"""Seconds between two slices: a key is read at most so often, whatever its writer does."""
_SLICE = 500
"""Keys that are read and handed on at once."""
_MOST_KEYS = 1 << 16
"""Keys that wait to be read; beyond them all is read again."""
_OWN = b"_INBOX."
"""How the reply subjects of clients in the account STORE begin: of the operator."""
_JOIN = 2.0
_SHOWN = 200
"""Characters of a key that are logged."""
STORED = 1.0
"""Seconds after which a stream has a received change: a subscription gets a write just before it is stored."""


class Source(Protocol):
    """Reads the keys of buckets and follows their changes."""

    async def follow(self, bucket: Bucket[T], pattern: str, heard: Callable[[Change[T]], None]) -> None:
        """Call `heard` for the newest value of every key that was written, from now on."""
        ...

    async def read_all(self, bucket: Bucket[T], pattern: str) -> list[Entry[T] | BadEntry]:
        """Every live key that matches."""
        ...


class Direct:
    """A source that no device writes to, on a connection of the operator's own loop."""

    def __init__(self, bus: Bus) -> None:
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


class ChangeQueue:
    """Changes that were received and not read yet: the newest of each key."""

    def __init__(self) -> None:
        self._newest: dict[bytes, tuple[KV[Any], ChangeCallback, Delivery, float]] = {}
        self.overflown = False

    def put(self, kv: KV[Any], heard: ChangeCallback, delivery: Delivery) -> None:
        """A key was written."""
        subject = delivery.subject
        if len(self._newest) >= _MOST_KEYS and subject not in self._newest:
            self.overflown = True
            return
        self._newest[subject] = (kv, heard, delivery, time.time())

    def take(self) -> list[tuple[ChangeCallback, Change[Any], bytes]]:
        """The next slice, read, each with its reply subject."""
        subjects = list(self._newest)[:_SLICE] if len(self._newest) > _SLICE else list(self._newest)
        taken = [self._newest.pop(subject) for subject in subjects]
        return [(heard, _read(kv, delivery, received), delivery.reply) for kv, heard, delivery, received in taken]

    def __len__(self) -> int:
        return len(self._newest)


def deliver(heard: Sequence[tuple[ChangeCallback, Change[Any], bytes]]) -> None:
    """Pass each change to its callback; an error in one change does not affect the others."""
    for tell, change, reply in heard:
        try:
            tell(change, reply)
        except Exception:
            log.exception("a change was passed over", key=change.key[:_SHOWN])


def _read(kv: KV[T], delivery: Delivery, received: float) -> Change[T]:
    try:
        return kv.read(delivery, received)
    except Exception as error:
        # The thread must go on: it hears every device.
        return BadEntry(text(delivery.subject)[kv.prefix :], why(error), 0, received)


class Reader:
    """The connections that receive what devices send, and their thread.

    `missed` is called when something was not kept, `flooded` when a device writes more than it may.
    """

    def __init__(
        self, login: Login, notice: Notice, missed: Callable[[], None], flooded: Callable[[Flood], None]
    ) -> None:
        """Not connected yet. The three are called in the loop that makes the reader."""
        self._ours = asyncio.get_running_loop()
        self._login = login
        self._notice = notice
        self._missed = missed
        self._waiting = ChangeQueue()
        self._flooded = flooded
        self._meter = Meter(self._report_flood)
        self._handing_on = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reader", daemon=True)
        self._bus: Bus | None = None
        self._apart: Bus | None = None

    async def start(self) -> None:
        """Connect, however long it takes.

        Raises:
            InvalidInput: the CA is no PEM certificate.
        """
        self._thread.start()
        self._bus = await self._in_reader(connect(self._login, notice=self._notify))

    async def listen_apart(self, handlers: Mapping[str, MessageHandler]) -> None:
        """Call each handler, in the reader's thread, with what comes at its subject, on a connection of their own.

        A flood may end it, and delays nothing that the other one receives.

        Raises:
            FleetError: NATS did not answer.
        """

        async def begin() -> Bus:
            bus = await connect(self._login, notice=lambda message: log.info("NATS says", apart=True, message=message))
            for subject, handler in handlers.items():
                await bus.listen(subject, handler)
            return bus

        self._apart = await self._in_reader(begin())

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """In the reader's thread: `call` there after so many seconds."""
        self._loop.call_later(seconds, call)

    def report(self, call: Callable[[], None]) -> None:
        """In the reader's thread: `call` in the loop that made the reader."""
        self._ours.call_soon_threadsafe(call)

    def report_later(self, seconds: float, call: Callable[[], None]) -> None:
        """In the loop that made the reader: `call` there after so many seconds."""
        self._ours.call_later(seconds, call)

    async def close(self) -> None:
        """End the connections, and the thread."""
        for bus in filter(None, (self._bus, self._apart)):
            await self._in_reader(bus.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, _JOIN)
        if not self._thread.is_alive():
            self._loop.close()

    async def follow(self, bucket: Bucket[T], pattern: str, heard: Callable[[Change[T]], None]) -> None:
        """See `Source`.

        Raises:
            FleetError: NATS did not answer.
        """
        await self.follow_with_reply(bucket, pattern, lambda change, _: heard(change))

    async def follow_with_reply(
        self, bucket: Bucket[T], pattern: str, heard: Callable[[Change[T], bytes], None]
    ) -> None:
        """As `follow`, with the subject on which the writer waits for an answer.

        Raises:
            FleetError: NATS did not answer.
        """
        kv, prefix, counted = self._connected().kv(bucket), len(bucket.subject("")), bucket.reported

        def keep(delivery: Delivery) -> None:
            # What a device sends has another reply subject, if any: the server replaces it between accounts.
            if counted and not delivery.reply.startswith(_OWN):
                device = delivery.subject[prefix:].partition(b".")[0]
                self._meter.count(device, delivery.size, time.monotonic())
            self._waiting.put(kv, heard, delivery)
            if not self._handing_on:
                self._handing_on = True
                self._loop.call_soon(self._deliver_slice)

        await self._in_reader(kv.listen(pattern, keep))

    async def read_all(self, bucket: Bucket[T], pattern: str) -> list[Entry[T] | BadEntry]:
        """See `Source`.

        Raises:
            FleetError: NATS did not answer.
        """
        return await self._in_reader(self._connected().kv(bucket).read_all(pattern))

    def _connected(self) -> Bus:
        if self._bus is None:
            raise Unreachable("NATS is not connected yet", next_step="wait until it is")
        return self._bus

    async def _in_reader(self, work: Coroutine[Any, Any, R]) -> R:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _notify(self, message: str) -> None:
        self._ours.call_soon_threadsafe(self._notice, message)

    def _report_flood(self, flood: Flood) -> None:
        self._ours.call_soon_threadsafe(self._flooded, flood)

    def _deliver_slice(self) -> None:
        """In the reader's thread: the next slice. The one after it waits until this one was taken."""
        if self._waiting.overflown:
            self._waiting.overflown = False
            self._ours.call_soon_threadsafe(self._missed)
        self._ours.call_soon_threadsafe(self._take, self._waiting.take())

    def _take(self, heard: list[tuple[ChangeCallback, Change[Any], bytes]]) -> None:
        """In our own thread."""
        try:
            deliver(heard)
        finally:
            self._loop.call_soon_threadsafe(self._loop.call_later, _PAUSE, self._continue)

    def _continue(self) -> None:
        self._handing_on = bool(len(self._waiting))
        if self._handing_on:
            self._deliver_slice()
