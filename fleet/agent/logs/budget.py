"""A rate with a burst, shared by everything that it bounds."""

from __future__ import annotations

import asyncio
import time


class Budget:
    """So many bytes a second lastingly, and `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = time.monotonic()

    async def spend(self, size: int) -> float:
        """Take so much, and wait until it was there to be taken; returns the seconds of the wait."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - size
        self._at = now
        pause = max(0.0, -self._left / self._rate)
        if pause:
            await asyncio.sleep(pause)
        return pause
