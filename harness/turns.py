"""Whose turn it is among steps in worlds that share servers: side by side, but for one that ends the servers."""

from __future__ import annotations

import fcntl
from pathlib import Path


class Turns:
    """One worker's turns. Whoever dies gives them back: they are locks of the kernel."""

    def __init__(self, shared: Path) -> None:
        """`shared` is the folder of what is shared."""
        self._gate, self._room = (shared / "turn-gate").open("a"), (shared / "turn").open("a")
        self._alone = False

    def take(self, *, alone: bool = False) -> None:
        """Wait for a turn; `alone`: until nobody else has one, and then nobody gets one.

        The turn held ends before, so that others come in, and two that wait to be alone do not wait for each other;
        but for one that is alone and stays so.
        """
        if alone and self._alone:
            return
        self.give_back()
        # Who waits to be alone holds the gate, so that others who come and go cannot keep it waiting for ever.
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._alone = alone

    def give_back(self) -> None:
        """End the turn, if there is one."""
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._alone = False

    def close(self) -> None:
        """No more turns."""
        self._gate.close()
        self._room.close()
