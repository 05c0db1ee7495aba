"""A look at NATS: a synchronous face over one connection that lives in a background thread's event loop.

It logs in as the static user `fleet-app`, so it sees every device's keys, and reads and writes raw bytes too: a
scenario plants foreign keys and broken values with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from fleet.contract.buckets import Bucket
from fleet.contract.errors import InvalidInput
from fleet.contract.wire import T, decode, encode
from harness.errors import Unanswered

Json = dict[str, Any]
R = TypeVar("R")
_DEADLINE = 5.0
_MORE_SERVERS = 0.2
"""Seconds to wait for the answer of one more server."""
_CLOSE_LIMIT = 0.5
"""Seconds that a connection has to end: after a TLS handshake that failed, asyncio (3.11) never says that it has."""
_DELETED = {"DEL", "PURGE"}


class NatsLogin(msgspec.Struct, frozen=True):
    """How to reach NATS. `ca` is PEM."""

    url: str
    ca: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"NatsLogin({self.user} at {self.url})"


@dataclass(frozen=True)
class Written(Generic[T]):
    """A value that was received, at the monotonic time `at` in seconds."""

    value: T
    at: float


class NatsProbe:
    """Connects at the first look, and again after NATS was away. Every call has a deadline of 5 s."""

    def __init__(self, login: Callable[[], NatsLogin]) -> None:
        """`login` is asked when a connection is needed: before an install there is nothing to log in to."""
        self._login = login
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats-probe", daemon=True)
        self._thread.start()
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    def get(self, bucket: Bucket[T], key: str) -> T | None:
        """A key's value; None when there is none.

        Raises:
            Unanswered: NATS does not answer.
            AssertionError: the value does not parse, so somebody wrote outside the contract.
        """
        data = self.raw(bucket, key)
        if data is None:
            return None
        try:
            return decode(data, bucket.kind)
        except InvalidInput as error:
            raise AssertionError(f"{bucket.name}/{key} is outside the contract: {error.what}") from error

    def raw(self, bucket: Bucket[Any], key: str) -> bytes | None:
        """A key's bytes; None when there is none; as `get` for errors."""
        return self._do(self._get(bucket, key), f"read {bucket.name}/{key}")

    def written(self, bucket: Bucket[Any], key: str) -> float:
        """When a key was last written or deleted, in the server's Unix seconds; 0 for never; as `get` for errors."""
        return self._do(self._written(bucket, key), f"read {bucket.name}/{key}")

    def keys(self, bucket: Bucket[Any], pattern: str = ">") -> list[str]:
        """The live keys that match; as `get` for errors."""
        return self._do(self._keys(bucket, pattern), f"list {bucket.name}/{pattern}")

    def subjects(self, stream: str) -> set[str]:
        """Every subject of which a stream holds something; as `get` for errors."""
        return self._do(self._subjects(stream), f"list {stream}")

    def listen(self, bucket: Bucket[T], key: str) -> list[Written[T]]:
        """Follow a key; values that are written from now on are appended to the list, without invalid ones.

        Raises:
            Unanswered: NATS does not answer.
        """
        return self._do(self._listen(bucket, key), f"listen to {bucket.name}/{key}")

    def ask_servers(self, subject: str, question: Json) -> list[Json]:
        """What every server of NATS answers to a question of the system account; as `get` for errors."""
        return self._do(self._ask_servers(subject, question), f"ask {subject}")

    def put(self, bucket: Bucket[T], key: str, value: T) -> None:
        """Write a value; as `get` for errors."""
        self.put_raw(bucket, key, encode(value))

    def put_raw(self, bucket: Bucket[Any], key: str, data: bytes) -> None:
        """Write any bytes under any key; as `get` for errors."""
        self._do(self._publish(bucket, key, data, None), f"write {bucket.name}/{key}")

    def delete(self, bucket: Bucket[Any], key: str) -> None:
        """Remove a key; as `get` for errors."""
        self._do(self._publish(bucket, key, b"", {"KV-Operation": "DEL"}), f"delete {bucket.name}/{key}")

    def close(self) -> None:
        """End the connection and its thread."""
        if self._client is not None:
            with contextlib.suppress(TimeoutError, nats.errors.Error):
                asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result(_DEADLINE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_DEADLINE)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, R], doing: str) -> R:
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, _DEADLINE), self._loop)
        try:
            return future.result(_DEADLINE + 1)
        except (TimeoutError, nats.errors.Error, OSError) as error:
            raise Unanswered(
                f"{doing}: NATS did not answer: {type(error).__name__} {error}",
                next_step="is nats up? world.problems() tells",
            ) from error

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is not None and self._client.is_connected:
                return self._client
            if self._client is not None:
                await close_client(self._client)
            login, client = self._login(), Client()
            async with contextlib.AsyncExitStack() as failed:
                failed.push_async_callback(close_client, client)
                await self._log_in(client, login)
                failed.pop_all()
            self._client = client
            return client

    async def _log_in(self, client: Client, login: NatsLogin) -> None:
        await client.connect(
            login.url.replace("tls+first://", "tls://", 1),
            tls_handshake_first=login.url.startswith("tls+first://"),
            name="harness",
            user=login.user,
            password=login.password,
            tls=ssl.create_default_context(cadata=login.ca),
            allow_reconnect=False,
            connect_timeout=2,
            error_cb=_ignore,
        )

    async def _get(self, bucket: Bucket[Any], key: str) -> bytes | None:
        js = (await self._connected()).jetstream(timeout=_DEADLINE)
        try:
            message = await js.get_msg(bucket.stream, subject=bucket.subject(key), direct=True)
        except nats.js.errors.NotFoundError:
            return None
        return None if (message.headers or {}).get("KV-Operation") in _DELETED else message.data or b""

    async def _listen(self, bucket: Bucket[T], key: str) -> list[Written[T]]:
        written: list[Written[T]] = []

        async def take(message: Msg) -> None:
            with contextlib.suppress(InvalidInput):
                written.append(Written(decode(message.data, bucket.kind), time.monotonic()))

        client = await self._connected()
        await client.subscribe(bucket.subject(key), cb=take)
        await client.flush()
        return written

    async def _ask_servers(self, subject: str, question: Json) -> list[Json]:
        client = await self._connected()
        answers = await client.subscribe(client.new_inbox())
        try:
            await client.publish(subject, msgspec.json.encode(question), reply=answers.subject)
            messages = [await answers.next_msg(timeout=_DEADLINE)]
            with contextlib.suppress(nats.errors.TimeoutError):
                while True:  # nobody says how many servers there are
                    messages.append(await answers.next_msg(timeout=_MORE_SERVERS))
        finally:
            await answers.unsubscribe()
        return [msgspec.json.decode(message.data) for message in messages]

    async def _written(self, bucket: Bucket[Any], key: str) -> float:
        js = (await self._connected()).jetstream(timeout=_DEADLINE)
        try:
            message = await js.get_msg(bucket.stream, subject=bucket.subject(key), direct=True)
        except nats.js.errors.NotFoundError:
            return 0
        stamp = cast("dict[str, str]", message.headers or {})["Nats-Time-Stamp"]
        return datetime.fromisoformat(stamp).timestamp()

    async def _keys(self, bucket: Bucket[Any], pattern: str) -> list[str]:
        js = (await self._connected()).jetstream(timeout=_DEADLINE)
        # By the stream's own list of subjects: a consumer would race with writers, and outlive the look.
        info = await js.stream_info(bucket.stream, subjects_filter=bucket.subject(pattern))
        named = [subject.removeprefix(bucket.subject("")) for subject in info.state.subjects or {}]
        return [key for key in sorted(named) if await self._get(bucket, key) is not None]

    async def _subjects(self, stream: str) -> set[str]:
        js = (await self._connected()).jetstream(timeout=_DEADLINE)
        info = await js.stream_info(stream, subjects_filter=">")
        return set(info.state.subjects or {})

    async def _publish(self, bucket: Bucket[Any], key: str, data: bytes, headers: dict[str, str] | None) -> None:
        js = (await self._connected()).jetstream(timeout=_DEADLINE)
        await js.publish(bucket.subject(key), data, headers=headers)


async def close_client(client: Client) -> None:
    """End a connection, or a login that failed."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(client.close(), _CLOSE_LIMIT)


async def _ignore(_error: Exception) -> None:
    """What goes wrong is seen by the next look; nats-py would print it with a traceback."""
