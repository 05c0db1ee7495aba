"""The one door to NATS: a connection that comes back, and typed KV buckets.

Everything else of ours speaks of `Bus`, `KV` and `Entry`; only this module (and the callout's responder, which needs
raw messages) knows nats-py. The traps it closes are listed in the NATS reference: buckets are made without rollup
headers, reads are direct gets, watches are core subscriptions that a device is allowed to hold, and the reconnect wait
is jittered.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Generic

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.kv import KV_DEL, KV_OP, KV_PURGE

from fleet.contract.buckets import Bucket
from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotPermitted, Unreachable
from fleet.contract.wire import T, decode, encode

_RECONNECT_WAIT = (0.1, 0.5)
"""Bounds in seconds of the random wait between attempts."""
_REQUEST_TIMEOUT = 5.0
_NO_LIMIT = -1

Token = Callable[[], str]
Notice = Callable[[str], None]


class Login(msgspec.Struct, frozen=True):
    """How a connection presents itself. `ca` is PEM; `token` is asked again at every reconnect."""

    url: str
    name: str
    ca: str
    user: str = ""
    password: str = ""
    token: Token | None = None
    inbox: str = "_INBOX"


class Entry(msgspec.Struct, Generic[T], frozen=True):
    """A value as it stands in a bucket. `stored` is the server's Unix time in seconds, 0 where it is not told."""

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


async def connect(login: Login, *, notice: Notice, attempts: int = _NO_LIMIT, closed: Notice | None = None) -> Bus:
    """Connect, and keep reconnecting for ever with a jittered wait.

    `notice` hears every disconnect, reconnect and asynchronous error as one sentence; `attempts` bounds the first
    connect only; `closed` hears when the client library gives up for good.

    Raises:
        NotPermitted: the server refused the credentials.
        Unreachable: no server answered within `attempts`.
    """
    client = Client()

    async def heard(what: str) -> None:
        notice(what)

    async def failed(error: Exception) -> None:
        notice(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    async def ended() -> None:
        if closed is not None:
            closed("connection closed")

    try:
        await client.connect(
            login.url,
            name=login.name,
            tls=ssl.create_default_context(cadata=login.ca) if login.ca else None,
            user=login.user or None,
            password=login.password or None,
            token=login.token,
            inbox_prefix=login.inbox,
            allow_reconnect=True,
            max_reconnect_attempts=attempts,
            reconnect_time_wait=random.uniform(*_RECONNECT_WAIT),  # type: ignore[arg-type]  # noqa: S311
            connect_timeout=3,
            ping_interval=20,
            max_outstanding_pings=2,
            error_cb=failed,
            disconnected_cb=lambda: heard("disconnected"),
            reconnected_cb=lambda: heard("reconnected"),
            closed_cb=ended,
        )
    except nats.errors.Error as error:
        await client.close()
        if "authorization" in str(error).lower():
            raise NotPermitted(
                f"NATS at {login.url} refused the login of {login.name!r}",
                next_step="see the callout's log for the reason; was the device enrolled, and not revoked?",
            ) from error
        raise Unreachable(f"no NATS server at {login.url}: {error}", next_step="is it running there?") from error
    except (OSError, ssl.SSLError) as error:
        await client.close()
        raise Unreachable(f"no NATS server at {login.url}: {error}", next_step="check address and CA") from error
    client.options["max_reconnect_attempts"] = _NO_LIMIT
    return Bus(client)


class Bus:
    """A live connection."""

    def __init__(self, client: Client) -> None:
        """Wrap a connected client."""
        self.client = client
        self._js = client.jetstream(timeout=_REQUEST_TIMEOUT)

    @property
    def connected(self) -> bool:
        """Whether the connection stands now."""
        return self.client.is_connected

    def kv(self, bucket: Bucket[T]) -> KV[T]:
        """The typed view of a bucket; asks the server nothing."""
        return KV(self.client, self._js, bucket)

    async def ensure(self, *buckets: Bucket[msgspec.Struct]) -> None:
        """Create buckets that do not exist yet, with rollup headers off. For the control plane.

        Raises:
            FleetError: the server refused.
        """
        for bucket in buckets:
            config = StreamConfig(
                name=bucket.stream,
                subjects=[bucket.subject(">")],
                max_msgs_per_subject=1,
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
                deny_delete=True,
                allow_direct=True,
                allow_rollup_hdrs=False,
            )
            await _translated(self._js.add_stream(config), f"create bucket {bucket.name}")

    async def reconnect(self) -> None:
        """Drop the connection and log in anew, with a fresh token."""
        await self.client.force_reconnect()

    async def close(self) -> None:
        """Flush what is pending and end."""
        await self.client.close()


class KV(Generic[T]):
    """One bucket. Reads never raise for a value that does not parse: they return `BadEntry`."""

    def __init__(self, client: Client, js: JetStreamContext, bucket: Bucket[T]) -> None:
        """Bind a bucket to a connection."""
        self._client = client
        self._js = js
        self._bucket = bucket

    async def get(self, key: str) -> Entry[T] | BadEntry | None:
        """The value now, or None when there is none.

        Raises:
            FleetError: the server did not answer; for a device also when the key is not its own.
        """
        subject = self._bucket.subject(key)
        try:
            message = await self._js.get_msg(self._bucket.stream, subject=subject, direct=True)
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError) as error:
            raise _lost(f"read {self._bucket.name}/{key}", error) from error
        headers = message.headers or {}
        if headers.get(KV_OP) in {KV_DEL, KV_PURGE}:
            return None
        return self._parse(key, message.data or b"", message.seq or 0, _server_time(headers))

    async def put(self, key: str, value: T) -> int:
        """Write a value; returns its revision.

        Raises:
            FleetError: not acknowledged.
        """
        return await self._publish(key, encode(value), {})

    async def create(self, key: str, value: T) -> int:
        """Write a value only where none is.

        Raises:
            Conflict: there is one already.
        """
        try:
            return await self.update(key, value, revision=0)
        except Conflict:
            if await self.get(key) is not None:
                raise
            raw = await self._js.get_msg(self._bucket.stream, subject=self._bucket.subject(key), direct=True)
            return await self.update(key, value, revision=raw.seq or 0)

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
        """Every live key that matches. For the control plane: it needs a consumer, which no device may have."""
        found: list[Entry[T] | BadEntry] = []
        prefix = len(self._bucket.subject(""))
        try:
            subscription = await self._js.subscribe(
                self._bucket.subject(pattern),
                stream=self._bucket.stream,
                ordered_consumer=True,
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
            )
            pending = (await subscription.consumer_info()).num_pending or 0
            pending += subscription.pending_msgs
            for _ in range(pending):
                message = await subscription.next_msg(timeout=_REQUEST_TIMEOUT)
                if (message.headers or {}).get(KV_OP) in {KV_DEL, KV_PURGE}:
                    continue
                meta = message.metadata
                stored = meta.timestamp.timestamp()
                found.append(self._parse(message.subject[prefix:], message.data, meta.sequence.stream, stored))
            await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError) as error:
            raise _lost(f"list {self._bucket.name}", error) from error
        return found

    async def follow(self, pattern: str, changed: Change[T]) -> None:
        """Call `changed` for every write from now on (a core subscription: at most once, so re-read as a backstop).

        The subscription survives reconnects. Its entries carry revision 0 and the time of receipt.
        """
        prefix = len(self._bucket.subject(""))

        async def heard(message: Msg) -> None:
            key = message.subject[prefix:]
            if (message.headers or {}).get(KV_OP) in {KV_DEL, KV_PURGE}:
                await changed(Deleted(key))
            else:
                await changed(self._parse(key, message.data, 0, time.time()))

        await self._client.subscribe(self._bucket.subject(pattern), cb=heard)

    def _parse(self, key: str, data: bytes, revision: int, stored: float) -> Entry[T] | BadEntry:
        try:
            return Entry(key, decode(data, self._bucket.kind), revision, stored)
        except InvalidInput as error:
            return BadEntry(key, error.what, revision, stored)

    async def _publish(self, key: str, data: bytes, headers: dict[str, str]) -> int:
        doing = f"write {self._bucket.name}/{key}"
        publish = self._js.publish(self._bucket.subject(key), data, headers=headers or None)
        return (await _translated(publish, doing)).seq


async def _translated(request: Awaitable[msgspec.Struct], doing: str):  # noqa: ANN202
    try:
        return await request
    except nats.js.errors.APIError as error:
        if error.err_code in {10071, 10164}:  # JSStreamWrongLastSequence, with and without the number
            raise Conflict(f"{doing}: changed in between", next_step="read again, then decide again") from error
        raise FleetError(f"{doing}: {error.description}", next_step="see the NATS server's log") from error
    except (nats.errors.Error, TimeoutError) as error:
        raise _lost(doing, error) from error


def _lost(doing: str, error: Exception) -> Unreachable:
    return Unreachable(
        f"{doing}: NATS did not answer ({type(error).__name__})", next_step="is the server up, and is this key ours?"
    )


def _server_time(headers: dict[str, str]) -> float:
    stamp = headers.get("Nats-Time-Stamp")
    return datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00").timestamp() if stamp else 0.0
