"""A NATS client of raw bytes over TLS: it says what a well-behaved client library cannot, and never waits for long."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import ssl
import time
from typing import Self
from urllib.parse import SplitResult, urlsplit

from harness.errors import Misused

_PATIENCE = 5.0
"""Seconds that connecting may last, and sending what the server does not take."""
_KEPT = 64 * 1024
"""Bytes of what the server said that are kept."""


class ConnectionEnded(Exception):  # noqa: N818 - what an attacker expects now and then
    """The server closed the connection, or did not take what was sent."""


class RawConnection:
    """One connection. What the server says is read in the background; its last bytes are kept.

    Attributes:
        ended_at: The monotonic time at which the connection ended; 0 while it lasts.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over a connection on which TLS stands."""
        self.ended_at = 0.0
        self._heard = bytearray()
        self._pongs = 0
        self._news = asyncio.Event()
        self._streams = (reader, writer)
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, ca: str) -> Self:
        """Connect, and send nothing but the handshake.

        Raises:
            ConnectionEnded: nobody answers.
            Misused: `url` leads to another machine; what follows does harm, and is for servers of our own.
        """
        address = loopback(url)
        trust = ssl.create_default_context(cadata=ca)
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(address.hostname, address.port)
                await reader.readuntil(b"\r\n")  # INFO, in clear
                await writer.start_tls(trust, server_hostname=address.hostname)
        except (OSError, TimeoutError, EOFError) as error:
            raise ConnectionEnded(f"{type(error).__name__}: {error}") from error
        return cls(reader, writer)

    async def log_in(self, token: str, **options: object) -> bool:
        """Send CONNECT and PING; whether the server let us in.

        Raises:
            ConnectionEnded: it closed the connection without a word.
        """
        hello = {"auth_token": token, "verbose": False, "pedantic": False, "headers": True, "lang": "raw"}
        hello |= {"version": "0", "protocol": 1, "name": "hostile"} | options
        await self.say(b"CONNECT " + json.dumps(hello).encode() + b"\r\n")
        return await self.settle()

    async def say(self, data: bytes) -> None:
        """Send bytes as they are; returns once the server takes more.

        Raises:
            ConnectionEnded: the server closed the connection, or takes nothing any more.
        """
        writer = self._streams[1]
        try:
            async with asyncio.timeout(_PATIENCE):
                writer.write(data)
                await writer.drain()
                # A write to a connection that has ended does not wait: who writes on and on would never hear of it.
                await asyncio.sleep(0)
        except (OSError, TimeoutError) as error:
            self.close()
            raise ConnectionEnded(str(error) or type(error).__name__) from error
        if self.over:
            raise ConnectionEnded("the server closed the connection")

    async def settle(self, timeout: float = _PATIENCE) -> bool:  # noqa: ASYNC109 - the usual word for it
        """Whether the server answers a PING that follows everything sent so far; as `say` for errors."""
        wanted = self._pongs + 1
        await self.say(b"PING\r\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._pongs < wanted and not self.over:
                    self._news.clear()
                    await self._news.wait()
        return self._pongs >= wanted

    @property
    def over(self) -> bool:
        """Whether the connection has ended, from whichever side."""
        return self.ended_at > 0

    @property
    def heard(self) -> bytes:
        """The last of what the server said."""
        return bytes(self._heard)

    def hear_nothing(self) -> None:
        """Read no more of what the server says, so that it waits there; whether the connection ended shows by `say`."""
        self._reading.cancel()
        self._streams[1].transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]

    def close(self) -> None:
        """End the connection without ceremony."""
        self._reading.cancel()
        self._streams[1].transport.abort()
        self._end()

    async def _read(self) -> None:
        reader, writer = self._streams
        with contextlib.suppress(OSError, EOFError):
            while data := await reader.read(65536):
                self._pongs += data.count(b"PONG\r\n")
                self._heard += data
                del self._heard[:-_KEPT]
                if b"PING\r\n" in data:
                    writer.write(b"PONG\r\n")
                self._news.set()
        self._end()

    def _end(self) -> None:
        self.ended_at = self.ended_at or time.monotonic()
        self._news.set()


def message(subject: bytes, body: bytes = b"", *, reply: bytes = b"", headers: bytes = b"") -> bytes:
    """The bytes of a PUB, or of an HPUB when there are headers (NATS client protocol)."""
    to = subject + (b" " + reply if reply else b"")
    if not headers:
        return b"PUB %s %d\r\n%s\r\n" % (to, len(body), body)
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (to, len(headers), len(headers) + len(body), headers, body)


def loopback(url: str) -> SplitResult:
    """The address of a server on this machine; as `RawConnection.open` for errors."""
    address = urlsplit(url)
    addresses: list[str] = []
    with contextlib.suppress(OSError):
        addresses = [str(info[4][0]) for info in socket.getaddrinfo(address.hostname, address.port)]
    if not addresses or not all(ipaddress.ip_address(it).is_loopback for it in addresses):
        raise Misused(f"{address.hostname} is not this machine", next_step="attack a server of this machine only")
    return address
