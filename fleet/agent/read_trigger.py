"""When to read what may have changed: NATS tells of what is written, and a timer stands in for what was missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fleet.process.backoff import Backoff

_SETTLE = (0.0, 0.05, 0.5, 3.0)
"""Seconds between the reads after a trigger: it arrives before the stream has stored the value."""


class ReadTrigger:
    """Tells a reader when to read. `resync` is in seconds: how often, in case something was missed."""

    def __init__(self, resync: float) -> None:
        self._resync = resync
        self._fired = asyncio.Event()
        self._failed = False
        self._backoff = Backoff(0.5, resync)

    def failed(self) -> None:
        """The last read gave no answer: the next one does not wait for the timer."""
        self._failed = True

    def fire(self) -> None:
        """Something was written, or may have been."""
        self._fired.set()

    async def times(self) -> AsyncGenerator[None]:
        """An item whenever it is time to read, without an end.

        That is at once, after each trigger, some time after a read that failed, and by the timer.
        """
        pauses = list(_SETTLE)
        while True:
            try:
                async with asyncio.timeout(pauses.pop(0) if pauses else self._pause()):
                    await self._fired.wait()
                pauses = list(_SETTLE[1:])
            except TimeoutError:
                pass
            self._fired.clear()
            self._failed = False
            yield

    def _pause(self) -> float:
        if not self._failed:
            self._backoff.reset()
            return self._resync
        return min(self._backoff.next(), self._resync)
