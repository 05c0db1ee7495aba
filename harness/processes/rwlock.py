"""A readers-writer lock for steps of worlds with shared servers: only a step that ends the servers runs alone."""

from __future__ import annotations

import fcntl
from pathlib import Path


class RwLock:
    """One worker's locks. The kernel releases them when the process ends."""

    def __init__(self, shared: Path) -> None:
        """`shared` is the folder of the shared resources."""
        self._gate, self._room = (shared / "turn-gate").open("a"), (shared / "turn").open("a")
        self._alone = False

    def acquire(self, *, alone: bool = False) -> None:
        """Take a shared lock, or with `alone` an exclusive one.

        Release any shared lock first, so that two workers that upgrade to an exclusive lock cannot deadlock.
        An exclusive lock that is taken again is kept.
        """
        if alone and self._alone:
            return
        self.release()
        # A worker that waits for the exclusive lock holds the gate, so that shared locks cannot starve it.
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._alone = alone

    def release(self) -> None:
        """Release the lock, if one is held."""
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._alone = False

    def close(self) -> None:
        """Release and close the locks."""
        self._gate.close()
        self._room.close()
