"""When to read what may have changed: NATS tells of what is written, and a timer stands in for what was missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

_SETTLE = (0.0, 0.05, 0.5)
"""Seconds between the reads after a nudge: it is heard just before the stream stores the value."""


class Nudge:
    """Tells a reader when to read. `resync` is in seconds: how often, in case something was missed."""

    def __init__(self, resync: float) -> None:
        """Wait for the first reader."""
        self._resync = resync
        self._given = asyncio.Event()

    def give(self) -> None:
        """Something was written, or may have been."""
        self._given.set()

    async def times(self) -> AsyncGenerator[None]:
        """An item whenever it is time to read: at once, after each nudge, and by the timer; without an end."""
        pauses = list(_SETTLE)
        while True:
            try:
                async with asyncio.timeout(pauses.pop(0) if pauses else self._resync):
                    await self._given.wait()
                pauses = list(_SETTLE[1:])
            except TimeoutError:
                pass
            self._given.clear()
            yield
