"""A connection whose other side takes nothing of what is sent is closed: it holds memory, and a place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LEAST = 32 * 1024
"""Bytes that must be taken in the time of one look: about a kilobyte a second, by the usual time."""


class StallWatch:
    """Looks at a connection while more is to be sent than its buffers hold."""

    def __init__(self, transport: asyncio.WriteTransport, drop: Callable[[], None], within: float) -> None:
        """Call `drop` where too little was taken within so many seconds."""
        self._transport = transport
        self._drop = drop
        self._within = within
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The buffers are full."""
        self.end()
        self._left = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._within, self._look)

    def end(self) -> None:
        """There is room again, or the connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._left - self._transport.get_write_buffer_size() < _LEAST:
            self._drop()
        else:
            self.begin()
