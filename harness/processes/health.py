"""Asks a URL once whether its server answers, without a client library, for the supervisor and the triage."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit


def _unchecked() -> ssl.SSLContext:
    # No default context: that would load all that the machine trusts.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


UNCHECKED = _unchecked()
"""Whether a certificate is right is a scenario's question; here only: does it answer?"""


async def why_not(url: str, within: float = 1.0) -> str:
    """Look at `http(s)://host:port/path`, `tcp://host:port` or `unix:path` of a container engine.

    Returns nothing when it answers (HTTP: 2xx), else the reason.
    """
    try:
        return await asyncio.wait_for(_ask(url), within)
    except TimeoutError:
        return f"no answer from {url} within {within:g} s"
    except (OSError, EOFError) as error:
        return f"{url}: {error.strerror if isinstance(error, OSError) and error.strerror else error}"


async def _ask(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        reader, writer = await asyncio.open_unix_connection(parts.path)
    else:
        secure = UNCHECKED if parts.scheme == "https" else None
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=secure)
    try:
        if parts.scheme == "tcp":
            return ""
        path = "/_ping" if parts.scheme == "unix" else parts.path or "/"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc or 'engine'}\r\nConnection: close\r\n\r\n".encode())
        status = (await reader.readline()).split(maxsplit=2)
        if len(status) < 2:
            return f"{url} closed the connection without an answer"
        if status[1].startswith(b"2"):
            return ""
        body = (await reader.read(4096)).partition(b"\r\n\r\n")[2].decode(errors="replace").strip()
        return f"{url} answered {status[1].decode(errors='replace')} {body}".rstrip()
    finally:
        writer.transport.abort()
