"""Serve an ASGI application of the harness itself: a listening socket, an HTTP server for it, and one on a thread."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from harness.errors import HarnessError, Misused, PortTaken
from harness.wait import wait_until

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        PortTaken: somebody else listens there.
        Misused: the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off, which costs 40 ms per answer.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        # It listens at once: a client that connects before the server accepts is queued, not refused.
        taken.listen(2048)
    except OSError as error:
        taken.close()
        if error.errno == 98:
            raise PortTaken(f"{host}:{port} is taken", next_step="end the other process, or give --port 0") from error
        raise Misused(f"cannot listen on {host}:{port}: {error.strerror}", next_step="give another --host") from error
    return taken


def server(app: ASGIApp, certificate: tuple[Path, Path] | None, *, lifespan: bool = False) -> uvicorn.Server:
    """An HTTP server for the application; with certificate and key files, an HTTPS one.

    With `lifespan` the application gets an event at its start and its end (ASGI, "Lifespan Protocol").

    Raises:
        HarnessError: certificate and key are unreadable, or do not belong together.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on" if lifespan else "off",
        log_level="warning",
        access_log=False,
        # A double's clock may be off, and its answers tell so themselves.
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise HarnessError(f"cannot use the TLS files: {error}", next_step="check --tls-cert and --tls-key") from error
    return uvicorn.Server(config)


@contextlib.contextmanager
def serving(app: ASGIApp, certificate: tuple[Path, Path], name: str, *, lifespan: bool = False) -> Generator[int]:
    """The application over HTTPS on a free port of 127.0.0.1, on a thread; yields the port, ends it after."""
    served, taken = server(app, certificate, lifespan=lifespan), listen("127.0.0.1", 0)
    thread = threading.Thread(target=served.run, args=([taken],), name=name, daemon=True)
    thread.start()
    try:
        wait_until(lambda: served.started, f"the {name} serves", timeout=10, interval=0.005)
        yield taken.getsockname()[1]
    finally:
        served.should_exit = True
        thread.join(10)
        taken.close()
