"""The rate of an attacker just below a flood, so that no quarantine stops his false reports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fleet.contract.limits import BYTE_BURST, BYTE_RATE, MESSAGE_BURST, MESSAGE_RATE

_RATE = 0.7
_BURST = 0.4
"""Of what a device may send. What a server counts of him besides, such as what an act says past the pace, fits too."""


class Pace:
    """How much may be sent now; a bucket of messages and one of bytes, which fill again at a steady rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Both are full. `clock` is in seconds."""
        self._clock = clock
        self._at = clock()
        self._left = [_BURST * MESSAGE_BURST, _BURST * BYTE_BURST]

    def wait(self, messages: int, size: int) -> float:
        """Take them out; returns the seconds to wait before they are sent."""
        now = self._clock()
        rates = (_RATE * MESSAGE_RATE, _RATE * BYTE_RATE)
        most = (_BURST * MESSAGE_BURST, _BURST * BYTE_BURST)
        filled = [
            min(top, left + rate * (now - self._at)) for left, rate, top in zip(self._left, rates, most, strict=True)
        ]
        self._at = now
        self._left = [left - taken for left, taken in zip(filled, (messages, size), strict=True)]
        return max(0.0, *(-left / rate for left, rate in zip(self._left, rates, strict=True)))

    async def take(self, messages: int, size: int) -> None:
        """Return once they may be sent."""
        await asyncio.sleep(self.wait(messages, size))
