"""Reads one device's log over NATS, as the user that may do nothing else: asks, and says how far it has read."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from fleet.contract.errors import FleetError, InvalidInput, TimedOut
from fleet.contract.logs import (
    LOG_READER_USER,
    LONGEST,
    MOST,
    RENEW,
    LogAsk,
    LogPiece,
    ask_subject,
    log_subject,
)
from fleet.contract.names import DeviceId
from fleet.contract.objects import ServerInfo
from fleet.contract.versions import user_of
from fleet.contract.wire import decode, encode
from fleet.nats.bus import Bus, Delivery, Login, connect

_ATTEMPTS = 3
_FIRST = 1.0
"""Seconds until a question that nothing has answered yet is asked again."""
_SILENCE = 15.0
"""Seconds without a new piece after which a device counts as silent: a quiet log is answered with empty ones."""
_OF_THE_PAST = 900.0
_FOLLOWED = LONGEST + 60
"""Seconds of one answer, of the past and one that follows: longer than an agent answers."""
_WAITING = 64
"""Pieces that wait to be printed; a device that sends more is not one of ours."""


@contextlib.asynccontextmanager
async def reader(server: ServerInfo, password: str) -> AsyncGenerator[Bus]:
    """The connection of a user who reads logs.

    Raises:
        NotPermitted: NATS refused the password.
        Unreachable: NATS does not answer.
    """
    user = user_of(LOG_READER_USER, password)
    login = Login(server.nats_url, LOG_READER_USER, server.ca, user=user, password=password)
    bus = await connect(login, notice=lambda _: None, attempts=_ATTEMPTS)
    try:
        yield bus
    finally:
        await bus.close()


class Reading:
    """One log of one device; `ask` says which, but for its session."""

    def __init__(self, bus: Bus, device: DeviceId, ask: LogAsk) -> None:
        self._bus = bus
        self._device = device
        self._ask = msgspec.structs.replace(ask, session=secrets.token_urlsafe(16))
        self._pieces: asyncio.Queue[LogPiece] = asyncio.Queue(_WAITING)

    async def pieces(self) -> AsyncGenerator[LogPiece]:
        """The pieces, each once and in order; `dropped` counts also those that were lost on the way.

        Raises:
            TimedOut: the device does not answer.
            FleetError: it cannot read this log, or NATS is gone.
        """
        await self._bus.listen(log_subject(self._device), self._hear)
        renewing = asyncio.create_task(self._renew())
        try:
            async for piece in self._in_order():
                yield piece
        finally:
            renewing.cancel()
            with contextlib.suppress(FleetError):
                await self._say(done=True)

    async def _in_order(self) -> AsyncIterator[LogPiece]:
        """The bounds of an agent hold here, too: a stolen device keeps none of them."""
        longest = _FOLLOWED if self._ask.follow else _OF_THE_PAST
        ends, size = asyncio.get_running_loop().time() + longest, 0
        while True:
            piece = await self._next()
            size += sum(len(line) + 1 for line in piece.lines)
            lost = piece.number > self._ask.seen + 1
            self._ask = msgspec.structs.replace(self._ask, seen=piece.number)
            if piece.failed:
                raise FleetError(
                    f"{self._device}: {piece.message}", next_step=f"see `fleet device show {self._device}`"
                )
            if not self._ask.follow and size > 2 * MOST:
                raise self._endless(f"sends more than the {MOST // 2**20} MiB of an answer")
            yield msgspec.structs.replace(piece, skipped=piece.skipped or lost)
            if piece.ended:
                return
            if asyncio.get_running_loop().time() > ends:
                raise self._endless(f"has not ended its answer after {longest:.0f} s")
            await self._say()

    def _endless(self, what: str) -> FleetError:
        return FleetError(
            f"{self._device} {what}, as no agent of ours does",
            next_step=f"was it stolen? then `fleet device revoke {self._device}`",
        )

    async def _next(self) -> LogPiece:
        try:
            async with asyncio.timeout(_SILENCE):
                while (piece := await self._pieces.get()).number <= self._ask.seen:
                    pass  # it came before
                return piece
        except TimeoutError:
            raise TimedOut(
                f"{self._device} does not answer",
                next_step=f"is it online, and its agent as new as this command? see `fleet device show {self._device}`",
            ) from None

    async def _renew(self) -> None:
        pause = _FIRST
        while True:
            with contextlib.suppress(FleetError):  # it is asked again
                await self._say()
            await asyncio.sleep(pause)
            pause = RENEW

    async def _say(self, *, done: bool = False) -> None:
        await self._bus.answer(ask_subject(self._device), encode(msgspec.structs.replace(self._ask, done=done)))

    def _hear(self, delivery: Delivery) -> None:
        with contextlib.suppress(InvalidInput, asyncio.QueueFull):
            piece = decode(delivery.data or b"", LogPiece)
            if piece.session == self._ask.session:
                self._pieces.put_nowait(piece)
