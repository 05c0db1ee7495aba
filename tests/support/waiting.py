"""The harness's wait, for tests that run in an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from harness.wait import WaitTimeout

T = TypeVar("T")


async def eventually(probe: Callable[[], T], condition: str, *, within: float = 30, interval: float = 0.01) -> T:
    """Let the loop run until `probe` returns something true; returns it.

    Raises:
        WaitTimeout: it did not, within `within` seconds.
    """
    deadline = time.monotonic() + within
    while not (seen := probe()):
        if time.monotonic() > deadline:
            raise WaitTimeout(condition, within, repr(seen))
        await asyncio.sleep(interval)
    return seen
