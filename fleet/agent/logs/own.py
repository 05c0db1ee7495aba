"""The agent's own log: what its process wrote last, so that a reader needs no journal of the host."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from fleet.agent.logs.outbox import Outbox
from fleet.contract.logs import MAX_LINE, LogAsk

_KEPT = 1000
_LOOK = 0.1
"""Seconds between reads while a reader follows."""


class OwnLog:
    """The last lines, in memory; they end with the process."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, float, bytes]] = deque(maxlen=_KEPT)
        self._count = 0

    def add(self, line: str) -> None:
        """Keep a line; of a thread's, too."""
        self._count += 1
        self._lines.append((self._count, time.monotonic(), line[:MAX_LINE].encode(errors="backslashreplace")))

    async def read(self, ask: LogAsk, outbox: Outbox) -> str:
        """Answer; returns why it ends."""
        sent = self._count
        oldest = time.monotonic() - ask.since if ask.since else 0.0
        lines = [line for _, at, line in tuple(self._lines) if at >= oldest]
        await outbox.put(lines[max(0, len(lines) - ask.tail) :])
        while ask.follow:
            await asyncio.sleep(_LOOK)
            new = [line for number, _, line in tuple(self._lines) if number > sent]
            missed = self._count - sent - len(new)
            sent = self._count
            if missed > 0:
                outbox.drop(missed)
            await outbox.put(new)
        return ""
