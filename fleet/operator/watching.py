"""Keeping a watcher alive: whatever ends one, the next begins, and everything is read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleet.kubeconfig import Access
from fleet.operator.handlers import PROVEN, Told, Watcher
from fleet.operator.readiness import Readiness

_SUBJECT = "watch"
_PAUSE = 1.0
"""Seconds before the next one."""


async def keep_watching(
    read: Callable[[], Access], namespace: str, told: Told, readiness: Readiness, missed: Callable[[], None]
) -> None:
    """Watch until cancelled; `missed` is called when a new watcher begins where another ended."""
    while True:
        ends: asyncio.Queue[str] = asyncio.Queue()
        watcher = Watcher(read, namespace, told, ends.put_nowait)
        watcher.start()
        try:
            readiness.wrong(_SUBJECT, await _end(ends, readiness))
        finally:
            await watcher.stop()
        await asyncio.sleep(_PAUSE)
        missed()


async def _end(ends: asyncio.Queue[str], readiness: Readiness) -> str:
    try:
        return await asyncio.wait_for(ends.get(), PROVEN)
    except TimeoutError:
        # A right that is missing would have ended it by now.
        readiness.settled(_SUBJECT)
        return await ends.get()
