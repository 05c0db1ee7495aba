"""Cancellation that is not lost."""

from __future__ import annotations

import asyncio


def heed() -> None:
    """End here if this task was cancelled, after a call that may have swallowed it.

    `asyncio.wait_for` of Python 3.11 forgets a cancellation that comes in the moment in which its inner call ends
    (python/cpython#86296), and the NATS client is built on it. A loop that goes on after such a call would outlive
    SIGTERM.

    Raises:
        asyncio.CancelledError: the task is to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
