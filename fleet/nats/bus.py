"""The one door to NATS: a connection that comes back, and typed KV buckets.

Everything else of ours speaks of `Bus`, `KV` and `Entry`; only this package knows nats-py (and the callout's responder,
which needs raw messages). The NATS reference lists the traps it avoids: buckets are made without rollup headers, reads
are direct gets, watches are core subscriptions that a device is allowed to hold, and the reconnect wait is jittered.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import DiscardPolicy, RePublish, StorageType, StreamConfig

from fleet.contract.buckets import ARTIFACTS, ARTIFACTS_STREAM, Bucket
from fleet.contract.errors import Unreachable
from fleet.contract.wire import T
from fleet.nats.blobs import Blobs
from fleet.nats.burst import Burst
from fleet.nats.cancellation import keep_cancellation
from fleet.nats.client import DISCONNECTED, RECONNECTED, Login, MessageHandler, Notice, Token, listen, open_client
from fleet.nats.headers import Delivery
from fleet.nats.kv import KV, BadEntry, Change, Deleted, Entry, lost, translated
from fleet.nats.transport import Transport
from fleet.process.failures import in_words, timed_out

__all__ = [
    "DISCONNECTED",
    "KV",
    "RECONNECTED",
    "BadEntry",
    "Blobs",
    "Burst",
    "Bus",
    "Change",
    "Deleted",
    "Delivery",
    "Entry",
    "Login",
    "MessageHandler",
    "Notice",
    "Token",
    "connect",
]

_REQUEST_TIMEOUT = 5.0
_ANSWERED_WITHIN = 2.0
"""Seconds to wait for an answer that is expected."""
_SIGN_OF_LIFE = 3
"""Seconds, whole ones as nats-py wants them."""
_NO_LIMIT = -1
_DUPLICATE_WINDOW = 0.1
"""Seconds for which a stream remembers the ids of messages, the fewest that nats-server takes. We send no ids, and a
device that does fills the server's memory with them: 12 KB each, 900 MiB in 2 s, kept for two minutes by default."""
_STREAM_EXISTS = 10058
"""nats-server's JSStreamNameExistErr: the stream is there, with another configuration."""


async def connect(login: Login, *, notice: Notice, attempts: int = _NO_LIMIT, closed: Notice | None = None) -> Bus:
    """Connect, and keep reconnecting for ever with a jittered wait that grows to a few seconds.

    `notice` hears `DISCONNECTED`, `RECONNECTED` and every asynchronous error as one sentence, a repeated one once;
    `attempts` bounds the first connect only; `closed` hears when the connection has ended for good.

    Raises:
        InvalidInput: the CA is no PEM certificate.
        NotPermitted: the server refused the credentials.
        Unreachable: no server answered within `attempts`.
    """
    return Bus(await open_client(login, notice=notice, attempts=attempts, closed=closed))


class Bus:
    """A live connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._js = client.jetstream(timeout=_REQUEST_TIMEOUT)

    @property
    def connected(self) -> bool:
        """Whether the connection stands now."""
        return self.client.is_connected

    def kv(self, bucket: Bucket[T]) -> KV[T]:
        """The typed view of a bucket; asks the server nothing."""
        return KV(self.client, self._js, bucket)

    async def ensure(self, *buckets: Bucket[Any], replicas: int = 1) -> None:
        """Make the buckets exist as they must be: no rollup headers, direct gets and notices. For the control plane.

        `replicas` servers keep each bucket.

        Raises:
            FleetError: the server refused.
        """
        for bucket in buckets:
            config = StreamConfig(
                name=bucket.stream,
                subjects=[bucket.subject(bucket.keys)],
                max_msgs_per_subject=1,
                max_msg_size=bucket.largest,
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
                deny_delete=True,
                allow_direct=True,
                allow_rollup_hdrs=False,
                duplicate_window=_DUPLICATE_WINDOW,
                num_replicas=replicas,
                republish=RePublish(src=bucket.subject(">"), dest=bucket.changed(">"), headers_only=True),
            )
            await translated(self._make(config), f"create bucket {bucket.name}")

    async def purge(self, bucket: Bucket[Any], pattern: str) -> None:
        """Remove every key that matches, also of a form that is not stored any more. For the control plane.

        Raises:
            FleetError: the server refused.
        """
        work = self._js.purge_stream(bucket.stream, subject=bucket.subject(pattern))
        await translated(work, f"remove keys of {bucket.name}")

    async def answer(self, reply: str, data: bytes) -> None:
        """Answer a request; whether the answer arrives is unknown.

        Raises:
            FleetError: the connection is gone.
        """
        try:
            await self.client.publish(reply, data)
        except nats.errors.Error as error:
            raise lost("answer", error) from error

    def blobs(self) -> Blobs:
        """The published agents; asks the server nothing."""
        return Blobs(self._js, ARTIFACTS_STREAM)

    async def ensure_blobs(self, *, replicas: int = 1) -> None:
        """Make the store of agents exist: what is in it is never replaced. For the control plane.

        Raises:
            FleetError: the server refused.
        """
        config = StreamConfig(
            name=ARTIFACTS_STREAM,
            subjects=[f"$O.{ARTIFACTS}.>"],
            max_msgs_per_subject=1,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            deny_delete=True,
            allow_direct=True,
            allow_rollup_hdrs=False,
            duplicate_window=_DUPLICATE_WINDOW,
            num_replicas=replicas,
        )
        await translated(self._make(config), "create the store of agents")

    async def subscribe(self, subject: str, heard: Callable[[], object]) -> None:
        """Call `heard` whenever something is published there, from now on; it survives reconnects.

        Raises:
            FleetError: the server did not answer.
        """

        async def call(_: Msg) -> None:
            heard()

        try:
            with keep_cancellation():
                await self.client.subscribe(subject, cb=call)
                await self.client.flush()
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"follow {subject}", error) from error

    async def listen(self, subject: str, heard: MessageHandler) -> None:
        """Hand every message that comes there to `heard`, as `KV.listen` does.

        Raises:
            FleetError: the server did not answer.
        """
        try:
            with keep_cancellation():
                await listen(self.client, subject, heard)
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"follow {subject}", error) from error

    async def wait_for(self, subject: str) -> None:
        """Wait until something is published there: the server sends that message and no further one.

        It survives reconnects, and misses what is published meanwhile.

        Raises:
            FleetError: the connection has ended for good.
        """
        message = asyncio.get_running_loop().create_future()
        try:
            with keep_cancellation():
                subscription = await self.client.subscribe(subject, future=message, max_msgs=1)
                try:
                    await subscription.unsubscribe(limit=1)
                    await message
                finally:
                    if message.cancelled():
                        await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"wait for {subject}", error) from error

    async def ask_all(self, subject: str, question: bytes, *, expected: int, linger: float = 0) -> list[bytes]:
        """The answers of the subscribers of `subject`, once `expected` arrived and none came for `linger` seconds.

        Raises:
            FleetError: the connection was lost.
        """
        try:
            with keep_cancellation():
                answers = await self.client.subscribe(self.client.new_inbox())
                try:
                    await self.client.publish(subject, question, reply=answers.subject)
                    return await _collected(answers, expected, linger)
                finally:
                    await answers.unsubscribe()
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"ask {subject}", error) from error

    async def ask(self) -> None:
        """Have a sign of life from the server, within a few seconds.

        Raises:
            Unreachable: it gave none.
        """
        try:
            with keep_cancellation():
                await self.client.flush(_SIGN_OF_LIFE)
        except (nats.errors.Error, TimeoutError) as error:
            text = f"it takes connections, and gave no sign of life within {_SIGN_OF_LIFE} s"
            raise Unreachable(text if timed_out(error) else in_words(error), next_step="is NATS overloaded?") from error

    async def _make(self, config: StreamConfig) -> None:
        try:
            await self._js.add_stream(config)
        except nats.js.errors.APIError as error:
            if error.err_code != _STREAM_EXISTS:
                raise
            await self._js.update_stream(config)

    async def reconnect(self) -> None:
        """Drop the connection and log in anew, with a fresh token."""
        with keep_cancellation():
            await self.client.force_reconnect()

    def trust(self, context: ssl.SSLContext) -> None:
        """Verify the server by `context` from the next connection on; the one that stands is left alone."""
        self.client.options["tls"] = context

    async def close(self) -> None:
        """Flush what is pending and end. Cancelled, it still closes the socket, which nats-py would leave open."""
        try:
            await self.client.close()
        finally:
            if isinstance(socket := self.client._transport, Transport):  # pyright: ignore[reportPrivateUsage]
                socket.drop()


async def _collected(answers: Subscription, expected: int, linger: float) -> list[bytes]:
    found: list[bytes] = []
    deadline = asyncio.get_running_loop().time() + _ANSWERED_WITHIN
    while (left := linger if len(found) >= expected else deadline - asyncio.get_running_loop().time()) > 0:
        try:
            message = await answers.next_msg(timeout=left)
        except nats.errors.TimeoutError:
            break
        if message.headers is None:  # else it is the server's word that nobody listens
            found.append(message.data)
    return found
