"""Faults on demand: requests that fail or hang."""

from __future__ import annotations

import asyncio
import re

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong with requests of a method ("" for any) to a path that the expression finds.

    `status` 0 hangs. `times` is how many requests it meets; 0 for all until it is removed.
    """

    path: str
    method: str = ""
    status: int = 0
    message: str = "a planted fault"
    times: int = 0


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        """None yet."""
        self._left: list[tuple[Fault, int]] = []
        self._healed = asyncio.Event()

    def add(self, fault: Fault) -> None:
        """From now on."""
        self._left.append((fault, fault.times))

    def clear(self) -> None:
        """None any more; what hangs goes on."""
        self._left = []
        self._healed.set()
        self._healed = asyncio.Event()

    async def meet(self, method: str, path: str) -> Fault | None:
        """The fault that answers a request, after hanging if there is one that hangs."""
        for place, (fault, left) in enumerate(self._left):
            if fault.method in {"", method} and re.search(fault.path, path):
                if left == 1:
                    del self._left[place]
                elif left:
                    self._left[place] = (fault, left - 1)
                if fault.status:
                    return fault
                await self._healed.wait()
                return None
        return None
