"""A look at NATS: a synchronous face over one connection that lives in a background thread's event loop.

It logs in as the static user `fleet-app`, so it sees every device's keys, and reads and writes raw bytes too: a
scenario plants foreign keys and broken values with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from fleet.contract.buckets import Bucket
from fleet.contract.errors import InvalidInput
from fleet.contract.wire import T, decode, encode
from harness.errors import Unanswered

R = TypeVar("R")
_DEADLINE = 5.0
_DELETED = {"DEL", "PURGE"}


class NatsLogin(msgspec.Struct, frozen=True):
    """How to reach NATS. `ca` is PEM."""

    url: str
    ca: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"NatsLogin({self.user} at {self.url})"


class NatsProbe:
    """Connects at the first look, and again after NATS was away. Every call has a deadline of 5 s."""

    def __init__(self, login: Callable[[], NatsLogin]) -> None:
        """`login` is asked when a connection is needed: before an install there is nothing to log in to."""
        self._login = login
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats-probe", daemon=True)
        self._thread.start()
        self._client: Client | None = None

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

    def keys(self, bucket: Bucket[Any], pattern: str = ">") -> list[str]:
        """The live keys that match; as `get` for errors."""
        return self._do(self._keys(bucket, pattern), f"list {bucket.name}/{pattern}")

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
        if self._client is not None and self._client.is_connected:
            return self._client
        if self._client is not None:
            await self._client.close()
        login = self._login()
        client = Client()
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
        self._client = client
        return client

    async def _get(self, bucket: Bucket[Any], key: str) -> bytes | None:
        js = (await self._connected()).jetstream(timeout=_DEADLINE)
        try:
            message = await js.get_msg(bucket.stream, subject=bucket.subject(key), direct=True)
        except nats.js.errors.NotFoundError:
            return None
        return None if (message.headers or {}).get("KV-Operation") in _DELETED else message.data or b""

    async def _keys(self, bucket: Bucket[Any], pattern: str) -> list[str]:
        js = (await self._connected()).jetstream(timeout=_DEADLINE)
        # By the stream's own list of subjects: a consumer would race with writers, and outlive the look.
        info = await js.stream_info(bucket.stream, subjects_filter=bucket.subject(pattern))
        named = [subject.removeprefix(bucket.subject("")) for subject in info.state.subjects or {}]
        return [key for key in sorted(named) if await self._get(bucket, key) is not None]

    async def _publish(self, bucket: Bucket[Any], key: str, data: bytes, headers: dict[str, str] | None) -> None:
        js = (await self._connected()).jetstream(timeout=_DEADLINE)
        await js.publish(bucket.subject(key), data, headers=headers)


async def _ignore(_error: Exception) -> None:
    """What goes wrong is seen by the next look; nats-py would print it with a traceback."""
