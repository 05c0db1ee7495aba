"""nats-py's socket, which knows whether TLS stands, and is closed in bounded time."""

from __future__ import annotations

import asyncio
import contextlib

from nats.aio.transport import TcpTransport

_CLOSE_LIMIT = 0.2
"""Seconds that a closed stream has to say good-bye."""


class Transport(TcpTransport):
    """The connection of a client."""

    def __init__(self) -> None:
        super().__init__()
        self._closing: tuple[asyncio.StreamWriter, asyncio.Future[None]] | None = None

    def __bool__(self) -> bool:
        """Always true, or nats-py would put its own kind in this one's place."""
        return True

    @property
    def encrypted(self) -> bool:
        """Whether TLS is established; nats-py lets the peer decide whether TLS is used."""
        return self._io_writer is not None and self._io_writer.get_extra_info("ssl_object") is not None

    async def wait_closed(self) -> None:
        """Wait until the connection is closed, but not for long: then drop the socket.

        A peer that is gone never answers, and after a failed TLS handshake asyncio (3.11) never tells. All who wait
        share one task: asyncio's own waiter would be cancelled for all of them with the first one that is.
        """
        writer = self._io_writer
        if writer is None:
            return
        if self._closing is None or self._closing[0] is not writer:
            self._closing = (writer, asyncio.ensure_future(writer.wait_closed()))
        closing = self._closing[1]
        await asyncio.wait({closing}, timeout=_CLOSE_LIMIT)
        if not closing.done():
            closing.cancel()
            self.drop()
        elif not closing.cancelled():
            closing.result()

    def drop(self) -> None:
        """Close the socket at once; nothing if there is none."""
        if self._io_writer:
            # Debian 12's Python 3.11.2 fails here when TLS is closed already, which would end the reconnect loop.
            with contextlib.suppress(AttributeError):
                self._io_writer.transport.abort()
