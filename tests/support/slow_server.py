"""A server whose answer comes byte by byte and has no end: each byte is soon enough for who limits the steps alone."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Generator
from pathlib import Path

from harness.targets.certificates import Authority

_PAUSE = 0.02
"""Seconds between two bytes."""


class SlowServer:
    """Its address, and the authority of its certificate."""

    def __init__(self, address: str, authority: Path) -> None:
        self.address = address
        self.authority = authority


@contextlib.contextmanager
def slow_server(folder: Path) -> Generator[SlowServer]:
    """Answers one connection with a header that goes on."""
    authority = Authority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server", hosts=("127.0.0.1",)))
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True) as secured:
                    for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX-Padding: ", itertools.repeat(ord("x"))):
                        if over.wait(_PAUSE):
                            return
                        secured.sendall(bytes((byte,)))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield SlowServer(f"127.0.0.1:{listener.getsockname()[1]}", authority.certificate)
        finally:
            over.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
