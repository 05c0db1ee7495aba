"""Many writes to streams at once: nats-py waits for each acknowledgement in a task, with an inbox token of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import msgspec
import nats.errors
from nats.aio.client import Client

from fleet.contract.errors import FleetError, InvalidInput, Unreachable
from fleet.contract.parsing import NOT_JSON
from fleet.nats.cancellation import keep_cancellation
from fleet.nats.client import listen, on_loss
from fleet.nats.headers import Delivery
from fleet.process.failures import unanswered

_AT_ONCE = 256
"""Messages that wait for their acknowledgement at the same time."""
_ANSWER = 5.0
"""Seconds without any acknowledgement after which none is expected any more."""


class _Error(msgspec.Struct):
    description: str = ""


class _Ack(msgspec.Struct):
    """The server's answer to a message for a stream (NATS ADR-1 and ADR-22)."""

    seq: int = 0
    error: _Error | None = None


class Burst:
    """Writes on one connection. One subscription, made by the first write, receives all acknowledgements."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = ""
        self._numbers = itertools.count()
        self._waiting: dict[bytes, asyncio.Future[_Ack]] = {}

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> list[FleetError | None]:
        """Write messages, each a subject and its data; what each came to, None where it was acknowledged.

        Raises:
            Unreachable: the connection was lost, or the server acknowledges nothing.
        """
        outcomes: list[FleetError | None] = []
        try:
            with keep_cancellation():
                await self._listen()
                for start in range(0, len(messages), _AT_ONCE):
                    outcomes += await self._some(messages[start : start + _AT_ONCE])
        except (nats.errors.Error, TimeoutError) as error:
            raise Unreachable(
                f"write {len(messages)} keys: {unanswered('NATS', error)}",
                next_step="is the server up?",
            ) from error
        return outcomes

    async def _listen(self) -> None:
        if not self._inbox:
            inbox = self._client.new_inbox()
            await listen(self._client, f"{inbox}.*", self._acknowledged)
            on_loss(self._client, self._lost)
            self._inbox = inbox

    async def _some(self, messages: Sequence[tuple[str, bytes]]) -> list[FleetError | None]:
        loop = asyncio.get_running_loop()
        replies = [f"{self._inbox}.{next(self._numbers)}" for _ in messages]
        answers = [loop.create_future() for _ in messages]
        self._waiting = dict(zip(map(str.encode, replies), answers, strict=True))
        outcomes: list[FleetError | None] = []
        try:
            for (subject, data), reply in zip(messages, replies, strict=True):
                try:
                    await self._client.publish(subject, data, reply=reply)
                except nats.errors.MaxPayloadError:
                    self._waiting[reply.encode()].set_result(_Ack(error=_Error("it is larger than a message may be")))
            for (subject, _), answer in zip(messages, answers, strict=True):
                async with asyncio.timeout(_ANSWER):
                    outcomes.append(_outcome(subject, await answer))
        finally:
            self._waiting = {}
        return outcomes

    def _acknowledged(self, delivery: Delivery) -> None:
        answer = self._waiting.get(delivery.subject)
        if answer is None or answer.done():
            return
        try:
            answer.set_result(msgspec.json.decode(delivery.data or b"", type=_Ack))
        except NOT_JSON:
            # Nobody listens there: the server says so in a header.
            answer.set_result(_Ack())

    def _lost(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(nats.errors.ConnectionReconnectingError())
                answer.exception()  # the first that is awaited tells it


def _outcome(subject: str, ack: _Ack) -> FleetError | None:
    if ack.error is not None:
        return InvalidInput(f"write {subject}: {ack.error.description}", next_step="see the NATS server's log")
    if not ack.seq:
        return Unreachable(
            f"write {subject}: there is no such bucket", next_step="is the fleet server installed, and up?"
        )
    return None
