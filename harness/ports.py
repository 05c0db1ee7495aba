"""Ports that nobody else takes: a block per world, held by a lock, below the range of outgoing connections.

Binding port 0 and closing again invites a race: the kernel may hand the port to the next outgoing connection, and a
restarted server must come back on the port it had. So a world owns a block of ports for its life. The lock ends with
its holder, however that ends; a port in the block that a stranger listens on is passed over.
"""

from __future__ import annotations

import fcntl
import random
import socket
from typing import IO

from harness import folders
from harness.errors import HarnessError, PortTaken, of_os_error

_FIRST, _LAST = 20000, 32000
"""Below 32768, where Linux begins to choose ports for outgoing connections (ip_local_port_range)."""
_SIZE = 40


class Ports:
    """A block of ports on 127.0.0.1, from `acquire` to `release`."""

    def __init__(self, first: int, lock: IO[bytes]) -> None:
        """Use `acquire`."""
        self._next = first
        self._last = first + _SIZE
        self._lock = lock

    @classmethod
    def acquire(cls) -> Ports:
        """Lock a block that no other world of this machine holds.

        Raises:
            HarnessError: every block is locked.
        """
        folder = folders.parent() / "ports"
        blocks = list(range(_FIRST, _LAST, _SIZE))
        random.shuffle(blocks)
        for first in blocks:
            try:
                folder.mkdir(exist_ok=True)
                lock = (folder / str(first)).open("ab")
            except OSError as error:
                raise of_os_error(error, "locking ports", folder) from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
            else:
                return cls(first, lock)
        raise HarnessError(
            f"all {len(blocks)} blocks of ports from {_FIRST} to {_LAST} are in use",
            next_step=f"end worlds that were kept (see {folder})",
        )

    def take(self) -> int:
        """The next free port of the block.

        Raises:
            PortTaken: strangers or we ourselves use all of them.
        """
        while self._next < self._last:
            port = self._next
            self._next += 1
            if is_free(port):
                return port
        raise PortTaken(
            f"no port is left in {self._last - _SIZE} to {self._last - 1}", next_step="see who listens there (ss -ltnp)"
        )

    def release(self) -> None:
        """Give the block back."""
        self._lock.close()


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1 and on every address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - closed at once
        except OSError:
            return False
    return True
