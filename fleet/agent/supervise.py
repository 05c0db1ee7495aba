"""Keeps the parts of the agent running: an unexpected error in one of them ends neither the others nor the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from fleet.agent.problems import Problem
from fleet.contract.wire import Reason
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

_LASTED = 60.0
"""Seconds of work after which a failure counts as the first one again."""


async def keep_going(part: str, work: Callable[[], Awaitable[None]], *, ends: type[Exception] | None = None) -> None:
    """Run `work` until it returns or is cancelled; after an unexpected error and a pause, run it again.

    Raises:
        ends: the one exception by which the part says that the process must go on elsewhere.
    """
    backoff = Backoff(0.5, 30)
    while True:
        began = time.monotonic()
        try:
            await work()
        except Exception as error:
            if ends is not None and isinstance(error, ends):
                raise
            if time.monotonic() - began > _LASTED:
                backoff.reset()
            pause = backoff.next()
            _log.exception("a part of the agent failed; it begins anew", part=part, seconds=round(pause, 1))
            await asyncio.sleep(pause)
        else:
            return


def unforeseen(error: Exception) -> Problem:
    """An unexpected error, as the problem of the one deployment in whose handling it occurred."""
    return Problem(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}; see the agent's log on the device")
