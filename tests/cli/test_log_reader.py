"""What a stolen device can do to who reads its log: it lies, and neither keeps him waiting nor sends without end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from fleet.cli import log_reader
from fleet.cli.log_reader import Reading
from fleet.contract.errors import FleetError, TimedOut
from fleet.contract.logs import LogAsk, LogPiece
from fleet.contract.names import DeviceId
from fleet.contract.wire import decode, encode
from fleet.nats.bus import Bus, Delivery

Lie = Callable[[LogAsk], list[LogPiece]]

PAST, FOLLOWING = LogAsk("to-be-made"), LogAsk("to-be-made", follow=True)


class Liar:
    """The bus of a reader whose every question, but the last, is answered by `lie`; the answer is never over."""

    def __init__(self, lie: Lie) -> None:
        self._lie = lie
        self._heard: Callable[[Delivery], None] = lambda _: None
        self.done = False

    async def listen(self, subject: str, heard: Callable[[Delivery], None]) -> None:
        assert subject == "fleet.log.pi-3"
        self._heard = heard

    async def answer(self, subject: str, data: bytes) -> None:
        assert subject == "fleet.log-ask.pi-3"
        ask = decode(data, LogAsk)
        self.done = ask.done
        self._send(ask)

    def _send(self, ask: LogAsk) -> None:
        if not self.done:
            for piece in self._lie(ask):
                data = encode(piece)
                self._heard(Delivery(b"fleet.log.pi-3", b"", data, len(data)))
            asyncio.get_running_loop().call_later(0.001, self._send, ask)


async def read(lie: Lie, ask: LogAsk) -> int:
    """Characters of the whole answer; a reader without bounds would not end."""
    liar, size = Liar(lie), 0
    try:
        async with asyncio.timeout(60):
            async for piece in Reading(cast("Bus", liar), DeviceId("pi-3"), ask).pieces():
                size += sum(map(len, piece.lines))
    finally:
        liar.done = True
    return size


@pytest.mark.parametrize("ask", [PAST, FOLLOWING])
def test_pieces_that_were_there_before_keep_nobody_waiting(ask: LogAsk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "_SILENCE", 0.2)

    def lie(ask: LogAsk) -> list[LogPiece]:
        return [LogPiece(ask.session, number) for number in (2**53 - 1, 1, 2)]

    with pytest.raises(TimedOut, match="pi-3 does not answer"):
        asyncio.run(read(lie, ask))


@pytest.mark.parametrize("ask", [PAST, FOLLOWING])
def test_an_answer_of_nothing_ends(ask: LogAsk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "_OF_THE_PAST", 0.2)
    monkeypatch.setattr(log_reader, "_FOLLOWED", 0.2)
    number = 0

    def lie(ask: LogAsk) -> list[LogPiece]:
        nonlocal number
        number += 1
        return [LogPiece(ask.session, number)]

    with pytest.raises(FleetError, match="has not ended its answer after 0 s"):
        asyncio.run(read(lie, ask))


def test_an_answer_without_end_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "MOST", 1 << 20)
    number = 0

    def lie(ask: LogAsk) -> list[LogPiece]:
        nonlocal number
        number += 1
        return [LogPiece(ask.session, number, ("x" * 10_000,) * 6)]

    with pytest.raises(FleetError, match=r"more than the 1 MiB of an answer"):
        asyncio.run(read(lie, PAST))


@pytest.mark.parametrize("ask", [PAST, FOLLOWING])
def test_answers_to_other_questions_are_not_heard(ask: LogAsk) -> None:
    def lie(ask: LogAsk) -> list[LogPiece]:
        return [LogPiece("another-session", 1, ("forged",)), LogPiece(ask.session, 1, ("true",), ended=True)]

    assert asyncio.run(read(lie, ask)) == len("true")
