"""A server that has one answer to everything, in a test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator


@contextlib.asynccontextmanager
async def scripted(answer: bytes, *, ends: bool = True) -> AsyncGenerator[tuple[str, list[int]]]:
    """A server with one answer, which ends the connection or not; yields its URL, and how often it was asked."""
    asked = [0]
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked[0] += 1
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if not ends:
                await over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield f"http://127.0.0.1:{port}", asked
        finally:
            over.set()


def http(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    """An answer; `more` are header lines."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def kv(data: bytes) -> bytes:
    """An entry of a key-value engine, as OpenBao answers it."""
    return http(b'{"data":{"metadata":{"version":1,"created_time":"t"},"data":' + data + b"}}")
