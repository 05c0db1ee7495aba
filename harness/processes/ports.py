"""Ports that no other program takes: a block per world, below the range of outgoing connections.

Binding port 0 and closing again invites a race: the kernel may hand the port to the next outgoing connection, and a
restarted server must come back on the port it had. So a world owns a block of ports for its life. The first of them is
bound and never listened on, which is the lock: it holds for every user and every TMPDIR that shares the ports, and ends
with its holder, however that ends. A port in the block that a stranger listens on later is passed over.
"""

from __future__ import annotations

import atexit
import random
import socket

from harness.errors import HarnessError, PortTaken
from harness.world import folders

_FIRST, _LAST = 20000, 32000
"""Below 32768, where Linux begins to choose ports for outgoing connections (ip_local_port_range)."""
_SIZE = 40


class Ports:
    """A block of ports on 127.0.0.1, from `acquire` to `release`."""

    def __init__(self, lock: socket.socket) -> None:
        """Use `acquire`."""
        self._lock = lock
        self._first: int = lock.getsockname()[1]
        self._rest = iter(range(self._first + 1, self._first + _SIZE))

    @classmethod
    def acquire(cls) -> Ports:
        """Lock a block in which no program listens and that no other world of this machine holds.

        Raises:
            HarnessError: there is none.
        """
        blocks = list(range(_FIRST, _LAST, _SIZE))
        random.shuffle(blocks)
        for first in blocks:
            lock = _bound(first)
            if lock is None:
                continue
            if all(is_free(port) for port in range(first + 1, first + _SIZE)):
                return cls(lock)
            lock.close()
        raise HarnessError(
            f"all {len(blocks)} blocks of ports from {_FIRST} to {_LAST} are in use",
            next_step=f"end worlds that were kept (see {folders.parent()})",
        )

    def take(self) -> int:
        """The next free port of the block.

        Raises:
            PortTaken: strangers or we ourselves use all of them.
        """
        for port in self._rest:
            if is_free(port):
                return port
        last = self._first + _SIZE - 1
        raise PortTaken(f"no port is left in {self._first} to {last}", next_step="see who listens there (ss -ltnp)")

    def release(self) -> None:
        """Give the block back."""
        self._lock.close()


_of_this_process: list[Ports] = []
"""Blocks for what belongs to no world; they are held until the process ends."""


def free_port() -> int:
    """A port of 127.0.0.1 that this process gives once, for a server of a test or a workload that shares the machine.

    Raises:
        HarnessError: there is none.
    """
    try:
        if _of_this_process:
            return _of_this_process[-1].take()
    except PortTaken:
        pass
    block = Ports.acquire()
    _of_this_process.append(block)
    atexit.register(block.release)  # else Python warns of its lock
    return block.take()


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1 and on every address now."""
    bound = _bound(port, reuse=True)
    if bound is None:
        return False
    bound.close()
    return True


def _bound(port: int, *, reuse: bool = False) -> socket.socket | None:
    """A socket bound to a port of every address, or None if it cannot be; of two that `reuse`, both can."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    try:
        bound.bind(("0.0.0.0", port))  # noqa: S104 - it never listens
    except OSError:
        bound.close()
        return None
    return bound
