"""The newest message of each subject of a stream, also while writers never pause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DEFAULT_PREFIX

_REQUEST_TIMEOUT = 5.0
_NEXT_TIMEOUT = 1.0
"""Seconds without a message after which a read asks whether there is one more."""


class _InfoRequest(msgspec.Struct, frozen=True):
    """A page of what a stream has, from its subject number `offset` on; nats-py's own request has no pages."""

    subjects_filter: str
    offset: int


class _State(msgspec.Struct, frozen=True):
    last_seq: int = 0
    subjects: dict[str, int] | None = None


class _Info(msgspec.Struct, frozen=True):
    """nats-server's answer; `total` is the number of subjects on all pages."""

    total: int = 0
    state: _State = _State()
    error: dict[str, Any] | None = None


async def stored(client: Client, stream: str, subject: str) -> tuple[set[str], int]:
    """The subjects that match and have a message, and the sequence of the stream's newest message.

    Raises:
        nats.errors.Error: the server did not answer, or there is no such stream.
    """
    found: set[str] = set()
    while True:
        asked = msgspec.json.encode(_InfoRequest(subject, len(found)))
        answer = await client.request(f"{DEFAULT_PREFIX}.STREAM.INFO.{stream}", asked, timeout=_REQUEST_TIMEOUT)
        info = msgspec.json.decode(answer.data, type=_Info)
        if info.error:
            raise nats.js.errors.APIError.from_error(info.error)
        page = info.state.subjects or {}
        found |= page.keys()
        if not page or len(found) >= info.total:
            return found, info.state.last_seq


async def until_read(subscription: JetStreamContext.PushSubscription, kept: set[str], last: int) -> AsyncIterator[Msg]:
    """The newest message of each of the subjects `kept`; a subject that was read leaves the set.

    A writer that never pauses cannot hold a reader up. A subject that is written over meanwhile is delivered later, so
    the read ends after the sequence `last`, and what is then in `kept` must be asked for by itself. The number of
    messages left is no end: nats-server counts one less for each that is written over, also for those of other keys, so
    it is 0 too early while somebody writes.
    """
    waits = 0
    while kept:
        try:
            message = await subscription.next_msg(timeout=_NEXT_TIMEOUT)
        except TimeoutError:
            # What is left may have been purged.
            if not (await subscription.consumer_info()).num_pending:
                return
            waits += 1
            if waits * _NEXT_TIMEOUT >= _REQUEST_TIMEOUT:
                raise
        else:
            kept.discard(message.subject)
            yield message
            if message.metadata.sequence.stream > last:
                return
