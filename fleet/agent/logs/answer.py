"""One answer to one reader: pieces, no faster than the device's budget and no further ahead than the reader is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from fleet.agent.logs.budget import Budget
from fleet.agent.logs.outbox import Outbox
from fleet.contract.errors import FleetError
from fleet.contract.logs import FORGOTTEN, LONGEST, MOST, UNSEEN, LogAsk, LogPiece

_log = structlog.stdlib.get_logger()

_GATHER = 0.05
"""Seconds in which lines become one piece."""
_QUIET = 4.0
"""Seconds of a quiet log after which an empty piece says that the device is there."""
_LOOK = 1.0
"""Seconds between looks whether anybody still reads."""

Read = Callable[[LogAsk, Outbox], Awaitable[str]]
Send = Callable[[LogPiece], Awaitable[None]]


class _Over(Exception):  # noqa: N818 - the answer ends, and this says why
    pass


class Answer:
    """Lives from the first question of a session to its last piece, which `run` returns."""

    def __init__(self, ask: LogAsk, read: Read, send: Send, budget: Budget) -> None:
        self._ask = ask
        self._read = read
        self._send = send
        self._budget = budget
        self._outbox = Outbox(drops=ask.follow)
        self._number = 0
        self._seen = 0
        self._asked = asyncio.Event()
        self._heard = self._began = self._sent_at = time.monotonic()
        self._sent = 0

    def again(self, ask: LogAsk) -> None:
        """The reader is still there, and has seen so much."""
        self._heard = time.monotonic()
        # A number that was never sent would let the answer run ahead for ever.
        self._seen = max(self._seen, min(ask.seen, self._number))
        self._asked.set()

    async def run(self) -> LogPiece:
        """Answer to the end, or until the reader is gone."""
        why, failed = "", False
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch())
                sending = group.create_task(self._pump())
                why = await self._read(self._ask, self._outbox)
                self._outbox.close()
                await sending
                watch.cancel()
        except* _Over as over:
            why = str(over.exceptions[0])
        except* FleetError as errors:
            error = errors.exceptions[0]
            # Without a next step: the reader's own command gives it, and a device must not.
            why, failed = error.what if isinstance(error, FleetError) else str(error), True
        last = LogPiece(self._ask.session, self._number + 1, ended=True, failed=failed, message=why[:1024])
        await self._send(last)
        return last

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            now = time.monotonic()
            if now - self._sent_at > _QUIET:
                self._outbox.touch()
            if now - self._heard > FORGOTTEN:
                raise _Over("nobody asked for more")
            if now - self._began > LONGEST:
                raise _Over(f"it has lasted {LONGEST / 60:.0f} minutes; ask again")

    async def _pump(self) -> None:
        while True:
            await self._outbox.ready()
            if self._number and not (self._outbox.closed or self._outbox.plenty):
                await asyncio.sleep(_GATHER)
            taken = self._outbox.take()
            if taken.due:
                await self._until_seen()
                await self._budget.spend(taken.size)
                self._number += 1
                self._sent_at = time.monotonic()
                self._sent += taken.size
                await self._send(
                    LogPiece(self._ask.session, self._number, taken.lines, taken.dropped, skipped=taken.skipped)
                )
                if not self._ask.follow and self._sent > MOST:
                    raise _Over(f"it is longer than {MOST // 2**20} MiB; give --tail or --since")
            elif self._outbox.closed:
                return

    async def _until_seen(self) -> None:
        while self._number - self._seen >= UNSEEN:
            self._asked.clear()
            await self._asked.wait()
