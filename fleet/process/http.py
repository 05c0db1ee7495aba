"""An HTTP client of which no socket stays open, whatever happens to who uses it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

_CONNECTED = "connection.connect_tcp.complete"


@contextlib.asynccontextmanager
async def http_client(tls: ssl.SSLContext, within: float) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that may be cancelled in the midst of a TLS handshake; `within` is in seconds, for each step.

    `httpcore` closes a connection whose handshake fails, and none whose handshake is cancelled. The "trace" extension
    of HTTPX says which connections were made.
    """
    connected: list[Any] = []

    async def keep(event: str, info: Mapping[str, Any]) -> None:
        if event == _CONNECTED:
            connected.append(info["return_value"])

    async def trace(request: httpx.Request) -> None:
        request.extensions["trace"] = keep

    async with httpx.AsyncClient(verify=tls, timeout=within, event_hooks={"request": [trace]}) as http:
        try:
            yield http
        except asyncio.CancelledError:
            for stream in connected:
                await stream.aclose()
            raise
