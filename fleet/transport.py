"""nats-py's socket, which knows whether TLS stands, and is closed in bounded time."""

from __future__ import annotations

import asyncio
import contextlib

from nats.aio.transport import TcpTransport

_CLOSE_LIMIT = 0.2
"""Seconds that a closed stream has to say good-bye."""


class Transport(TcpTransport):
    """The connection of a client."""

    def __bool__(self) -> bool:
        """Always true, or nats-py would put its own kind in this one's place."""
        return True

    @property
    def encrypted(self) -> bool:
        """Whether TLS stands; nats-py trusts whoever answers to say whether there is to be any."""
        return self._io_writer is not None and self._io_writer.get_extra_info("ssl_object") is not None

    async def wait_closed(self) -> None:
        """Wait for the good-bye, but not for long: then drop the socket.

        A peer that is gone never says it, and after a failed TLS handshake asyncio (3.11) never tells.
        """
        try:
            async with asyncio.timeout(_CLOSE_LIMIT):
                await super().wait_closed()
        except TimeoutError:
            self.drop()

    def drop(self) -> None:
        """Close the socket without ceremony; nothing when there is none."""
        if self._io_writer:
            # Debian 12's Python 3.11.2 fails here when TLS is closed already, which would end the reconnect loop.
            with contextlib.suppress(AttributeError):
                self._io_writer.transport.abort()
