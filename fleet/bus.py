"""The one door to NATS: a connection that comes back, and typed KV buckets.

Everything else of ours speaks of `Bus`, `KV` and `Entry`; only this module and its parts, `fleet.kv`, `fleet.blobs`
and `fleet.link`, know nats-py (and the callout's responder, which needs raw messages). The traps they close are listed
in the NATS reference: buckets are made without rollup headers, reads are direct gets, watches are core subscriptions
that a device is allowed to hold, and the reconnect wait is jittered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, RePublish, StorageType, StreamConfig

from fleet.blobs import Blobs
from fleet.cancel import heeding
from fleet.contract.buckets import ARTIFACTS, ARTIFACTS_STREAM, Bucket
from fleet.contract.wire import T
from fleet.kv import KV, BadEntry, Change, Deleted, Entry, lost, translated
from fleet.link import DISCONNECTED, RECONNECTED, Login, Notice, Token, open_client

__all__ = [
    "DISCONNECTED",
    "KV",
    "RECONNECTED",
    "BadEntry",
    "Blobs",
    "Bus",
    "Change",
    "Deleted",
    "Entry",
    "Login",
    "Notice",
    "Token",
    "connect",
]

_REQUEST_TIMEOUT = 5.0
_NO_LIMIT = -1
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

    async def ensure(self, *buckets: Bucket[Any], replicas: int = 1) -> None:
        """Make the buckets exist as they must be: no rollup headers, direct gets and notices. For the control plane.

        `replicas` servers keep each bucket.

        Raises:
            FleetError: the server refused.
        """
        for bucket in buckets:
            config = StreamConfig(
                name=bucket.stream,
                subjects=[bucket.subject(">")],
                max_msgs_per_subject=1,
                max_msg_size=bucket.largest,
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
                deny_delete=True,
                allow_direct=True,
                allow_rollup_hdrs=False,
                num_replicas=replicas,
                republish=RePublish(src=bucket.subject(">"), dest=bucket.changed(">"), headers_only=True),
            )
            await translated(self._make(config), f"create bucket {bucket.name}")

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
            num_replicas=replicas,
        )
        await translated(self._make(config), "create the store of agents")

    async def hear(self, subject: str, heard: Callable[[], object]) -> None:
        """Call `heard` whenever something is published there, from now on; it survives reconnects.

        Raises:
            FleetError: the server did not answer.
        """

        async def call(_: Msg) -> None:
            heard()

        try:
            with heeding():
                await self.client.subscribe(subject, cb=call)
                await self.client.flush()
        except (nats.errors.Error, TimeoutError) as error:
            raise lost(f"follow {subject}", error) from error

    async def _make(self, config: StreamConfig) -> None:
        try:
            await self._js.add_stream(config)
        except nats.js.errors.APIError as error:
            if error.err_code != _STREAM_EXISTS:
                raise
            await self._js.update_stream(config)

    async def reconnect(self) -> None:
        """Drop the connection and log in anew, with a fresh token."""
        with heeding():
            await self.client.force_reconnect()

    async def close(self) -> None:
        """Flush what is pending and end."""
        await self.client.close()
