"""Cancellation that is not lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def keep_cancellation() -> Generator[None]:
    """End by the cancellation that came while the block ran, when what it awaited has swallowed it.

    `asyncio.wait_for` of Python 3.11 forgets a cancellation that comes in the moment in which its inner call ends
    (python/cpython#86296), and the NATS client is built on it. A cancellation from before the block is ignored
    here, so that clean-up code can still call NATS.

    Raises:
        asyncio.CancelledError: the task is to end.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
