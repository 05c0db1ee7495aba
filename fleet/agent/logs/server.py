"""Receives requests to read a log, and answers each over the device's own connection."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import structlog

from fleet.agent.engine import Engine
from fleet.agent.logs.answer import Answer
from fleet.agent.logs.budget import Budget
from fleet.agent.logs.container import ContainerLogs
from fleet.agent.logs.own import OwnLog
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.limits import BYTE_RATE
from fleet.contract.logs import AT_ONCE, LogAsk, LogPiece, heard_subject, log_subject
from fleet.contract.names import DeviceId
from fleet.contract.owner import Owner
from fleet.contract.wire import decode, encode
from fleet.nats.bus import Bus, Delivery
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

_RATE = BYTE_RATE / 4
"""Bytes a second of all answers: what reports leave of what a device may send."""
_BURST = 512 * 1024
_LARGEST = 4096
"""Bytes of a question."""
_REMEMBERED = 32
"""Answers whose last piece is said again to a reader that missed it."""


class LogServer:
    """Answers while it is `allow`ed: of two agents of a device, only the one that reports."""

    def __init__(self, device: DeviceId, owner: Owner, engine: Engine, own: OwnLog) -> None:
        self._device = device
        self._containers = ContainerLogs(engine, owner)
        self._own = own
        self._budget = Budget(_RATE, _BURST)
        self._answers: dict[str, tuple[Answer, asyncio.Task[None]]] = {}
        self._ended: dict[str, LogPiece] = {}
        self._allowed = False
        self._last_error = ""

    def allow(self, *, answers: bool) -> None:
        """Whether questions are answered from now on; those under way end when they are not."""
        self._allowed = answers
        if not answers:
            for _, task in self._answers.values():
                task.cancel()

    async def serve(self, bus: Bus) -> None:
        """Answer on a connection until cancelled."""
        self._answers = {}
        async with asyncio.TaskGroup() as group:
            await self._listen(bus, functools.partial(self._hear, bus, group))
            await asyncio.Event().wait()

    async def _listen(self, bus: Bus, heard: Callable[[Delivery], None]) -> None:
        backoff = Backoff(0.5, 30)
        while True:
            try:
                await bus.listen(heard_subject(self._device), heard)
            except FleetError as error:
                _log.warning("nobody can read logs yet", why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                return

    def _hear(self, bus: Bus, group: asyncio.TaskGroup, delivery: Delivery) -> None:
        if not self._allowed:
            return
        try:
            ask = _parsed(delivery)
        except InvalidInput as error:
            if error.what != self._last_error:
                self._last_error = error.what
                _log.warning("a question for a log does not parse", why=error.what)
            return
        known = self._answers.get(ask.session)
        if known:
            known[0].again(ask)
            if ask.done:
                known[1].cancel()
        elif not ask.done:
            if last := self._ended.get(ask.session) or self._refused(ask):
                group.create_task(self._send(bus, last))
            else:
                self._begin(bus, group, ask)

    def _refused(self, ask: LogAsk) -> LogPiece | None:
        why = f"{AT_ONCE} others read its logs now; try again later" if len(self._answers) >= AT_ONCE else ""
        if ask.seen:
            why = "the agent was started anew, or its connection was"
        return LogPiece(ask.session, ask.seen + 1, ended=True, failed=True, message=why) if why else None

    def _begin(self, bus: Bus, group: asyncio.TaskGroup, ask: LogAsk) -> None:
        _log.info("a log is read", session=ask.session, deployment=ask.deployment, follow=ask.follow)
        read = self._containers.read if ask.deployment else self._own.read
        answer = Answer(ask, read, functools.partial(self._send, bus), self._budget)
        self._answers[ask.session] = answer, group.create_task(self._answered(ask.session, answer))

    async def _answered(self, session: str, answer: Answer) -> None:
        try:
            self._ended[session] = await answer.run()
            while len(self._ended) > _REMEMBERED:
                del self._ended[next(iter(self._ended))]
        except Exception:  # whatever a log or its engine does ends this answer alone, not the server of logs
            _log.exception("an answer to a reader of logs failed; the others go on", session=session)
        finally:
            del self._answers[session]

    async def _send(self, bus: Bus, piece: LogPiece) -> None:
        try:
            await bus.answer(log_subject(self._device), encode(piece))
        except FleetError as error:
            _log.warning("a piece of a log was not sent", why=error.what)


def _parsed(delivery: Delivery) -> LogAsk:
    if delivery.data is None or len(delivery.data) > _LARGEST:
        raise InvalidInput("not a valid LogAsk: empty, or too large", next_step="ask with `fleet device logs`")
    return decode(delivery.data, LogAsk)
