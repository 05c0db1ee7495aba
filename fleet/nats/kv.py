"""Typed JetStream KV buckets: reads that never stop for a bad value, writes with compare-and-set.

Reads are direct gets and watches are core subscriptions, the only kinds that a device may hold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Generic, TypeVar, cast

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy, RawStreamMsg
from nats.js.kv import KV_DEL, KV_OP

from fleet.contract.buckets import Bucket
from fleet.contract.errors import Conflict, FleetError, InvalidInput, Unreachable
from fleet.contract.wire import T, decode, decode_report, encode
from fleet.nats.burst import Burst
from fleet.nats.cancellation import keep_cancellation
from fleet.nats.client import MessageHandler, listen
from fleet.nats.headers import Delivery, deletes, text
from fleet.nats.stored import stored, until_read
from fleet.process.failures import unanswered

_GETS = 256
"""Direct gets under way at once."""
_WRONG_LAST = {10071, 10164}
"""nats-server's JSStreamWrongLastSequence, with and without the number."""
_NO_BUCKET = (nats.js.errors.APIError, nats.js.errors.NoStreamResponseError, nats.errors.NoRespondersError)

R = TypeVar("R")


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """A value of a bucket. `stored` is the server's Unix time in seconds, 0 if it is unknown."""

    key: str
    value: T
    revision: int
    stored: float = 0


class BadEntry(msgspec.Struct, frozen=True):
    """A key whose value does not parse, and why; never an exception, for one bad writer must not stop a reader."""

    key: str
    why: str
    revision: int
    stored: float = 0


class Deleted(msgspec.Struct, frozen=True):
    """A key that was just deleted."""

    key: str


Change = Callable[["Entry[T] | BadEntry | Deleted"], Awaitable[None]]


class KV(Generic[T]):
    """One bucket. Reads never raise for a value that does not parse: they return `BadEntry`."""

    def __init__(self, client: Client, js: JetStreamContext, bucket: Bucket[T]) -> None:
        self._client = client
        self._js = js
        self._bucket = bucket
        self.prefix = len(bucket.subject(""))
        """Characters of a subject before the key."""

    async def get(self, key: str) -> Entry[T] | BadEntry | None:
        """The value now, or None when there is none.

        Raises:
            FleetError: the server did not answer; for a device also when the key is not its own.
        """
        message = await self._last(key)
        if message is None or _deleted(message):
            return None
        return self._parse(key, message.data or b"", message.seq or 0, _server_time(message))

    async def put(self, key: str, value: T) -> int:
        """Write a value; returns its revision.

        Raises:
            FleetError: not acknowledged.
        """
        return await self._publish(key, encode(value), {})

    async def put_all(self, values: Mapping[str, T], burst: Burst) -> list[FleetError | None]:
        """Write many values; what each came to, None where it was acknowledged.

        Raises:
            Unreachable: the connection was lost, or the server acknowledges nothing.
        """
        return await burst.publish([(self._bucket.subject(key), encode(value)) for key, value in values.items()])

    async def create(self, key: str, value: T) -> int:
        """Write a value only where none is.

        Raises:
            Conflict: there is one already.
        """
        message = await self._last(key)
        if message is not None and not _deleted(message):
            raise Conflict(f"{self._bucket.name}/{key} exists already", next_step="read it, then decide again")
        return await self.update(key, value, revision=message.seq or 0 if message else 0)

    async def update(self, key: str, value: T, *, revision: int) -> int:
        """Write a value only over the given revision (compare-and-set); returns the new one.

        Raises:
            Conflict: somebody wrote in between.
        """
        return await self._publish(key, encode(value), {"Nats-Expected-Last-Subject-Sequence": str(revision)})

    async def delete(self, key: str) -> None:
        """Remove a key; removing none is fine."""
        await self._publish(key, b"", {KV_OP: KV_DEL})

    async def read_all(self, pattern: str = ">") -> list[Entry[T] | BadEntry]:
        """Every live key that matches. For the control plane: it needs a consumer, which no device may have.

        Raises:
            FleetError: the server did not answer, or the bucket does not exist.
        """
        try:
            with keep_cancellation():
                return await self._read_all(pattern)
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"list {self._bucket.name}", error) from error

    async def follow(self, pattern: str, changed: Change[T]) -> None:
        """Call `changed` for every write from now on; the subscription survives reconnects.

        A core subscription, the only kind a device may hold: at most once, so re-read at `RECONNECTED` and by a timer.
        It hears what is published, just before the stream stores it and also when the stream then refuses it (a lost
        compare-and-set), so the change carries revision 0 and the time of receipt, and a `get` made in the same
        instant may still see the value before.

        Raises:
            FleetError: the server did not answer.
        """

        async def heard(message: Msg) -> None:
            key = message.subject[self.prefix :]
            if _deleted(message):
                await changed(Deleted(key))
            else:
                await changed(self._parse(key, message.data, 0, time.time()))

        try:
            with keep_cancellation():
                await self._client.subscribe(self._bucket.subject(pattern), cb=heard)
                await self._client.flush()
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"follow {self._bucket.name}", error) from error

    async def listen(self, pattern: str, heard: MessageHandler) -> None:
        """As `follow`, but hand on every write as it came, unread; `read` reads what was kept.

        `heard` is called in the loop that reads the connection; it must not wait, nor raise.

        Raises:
            FleetError: the server did not answer.
        """
        try:
            with keep_cancellation():
                await listen(self._client, self._bucket.subject(pattern), heard)
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"follow {self._bucket.name}", error) from error

    def read(self, delivery: Delivery, received: float) -> Entry[T] | BadEntry | Deleted:
        """What `listen` handed on at the Unix time `received`."""
        key = text(delivery.subject)[self.prefix :]
        return Deleted(key) if delivery.data is None else self._parse(key, delivery.data, 0, received)

    async def _read_all(self, pattern: str) -> list[Entry[T] | BadEntry]:
        found: dict[str, Entry[T] | BadEntry] = {}
        kept, last = await stored(self._client, self._bucket.stream, self._bucket.subject(pattern))
        if not kept:
            return []
        subscription = await self._js.subscribe(
            self._bucket.subject(pattern),
            stream=self._bucket.stream,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
        )
        try:
            async for message in until_read(subscription, kept, last):
                key = message.subject[self.prefix :]
                if _deleted(message):
                    found.pop(key, None)
                    continue
                meta = message.metadata
                found[key] = self._parse(key, message.data, meta.sequence.stream, meta.timestamp.timestamp())
        finally:
            await subscription.unsubscribe()
        missed = [subject[self.prefix :] for subject in kept]
        for start in range(0, len(missed), _GETS):
            entries = await asyncio.gather(*map(self.get, missed[start : start + _GETS]))
            found |= {entry.key: entry for entry in entries if entry is not None}
        return list(found.values())

    async def _last(self, key: str) -> RawStreamMsg | None:
        try:
            with keep_cancellation():
                return await self._js.get_msg(self._bucket.stream, subject=self._bucket.subject(key), direct=True)
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"read {self._bucket.name}/{key}", error) from error

    def _parse(self, key: str, data: bytes, revision: int, stored: float) -> Entry[T] | BadEntry:
        try:
            read = decode_report if self._bucket.reported else decode
            return Entry(key, read(data, self._bucket.kind), revision, stored)
        except InvalidInput as error:
            return BadEntry(key, error.what, revision, stored)

    async def _publish(self, key: str, data: bytes, headers: dict[str, str]) -> int:
        doing = f"write {self._bucket.name}/{key}"
        publish = self._js.publish(self._bucket.subject(key), data, headers=headers or None)
        return (await translated(publish, doing)).seq


async def translated(request: Awaitable[R], doing: str) -> R:
    """Await a JetStream request; its errors become ours, with what we were `doing` in front."""
    try:
        with keep_cancellation():
            return await request
    except nats.js.errors.APIError as error:
        if error.err_code in _WRONG_LAST:
            raise Conflict(f"{doing}: changed in between", next_step="read again, then decide again") from error
        raise FleetError(f"{doing}: {error.description}", next_step="see the NATS server's log") from error
    except nats.errors.MaxPayloadError as error:
        raise InvalidInput(f"{doing}: it is larger than a message may be", next_step="make it smaller") from error
    except (nats.errors.Error, TimeoutError) as error:
        raise lost(doing, error) from error


def lost(doing: str, error: Exception) -> FleetError:
    """What to say of a request that NATS did not answer."""
    if isinstance(error, _NO_BUCKET):
        return Unreachable(f"{doing}: there is no such bucket", next_step="is the fleet server installed, and up?")
    return Unreachable(f"{doing}: {unanswered('NATS', error)}", next_step="is the server up, and is this key ours?")


def _deleted(message: Msg | RawStreamMsg) -> bool:
    return deletes(_headers(message))


def _server_time(message: RawStreamMsg) -> float:
    stamp = (_headers(message) or {}).get("Nats-Time-Stamp")
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def _headers(message: Msg | RawStreamMsg) -> dict[str, str] | None:
    return cast("dict[str, str] | None", message.headers)
