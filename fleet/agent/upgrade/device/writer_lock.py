"""The writer's lock: of all agents of a device, one may write. The kernel frees it, however its holder ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

_LOOK = 0.05
"""Seconds between looks: a flock(2) that waits would need a thread that nothing can end."""


async def take(path: Path) -> int:
    """Wait for the lock, for as long as it takes; the file descriptor that holds it until it is closed.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_LOOK)
            else:
                return handle
    except BaseException:  # a cancellation too: an open handle could take the lock of a process that goes on
        os.close(handle)
        raise
