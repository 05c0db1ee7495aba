"""A device that sends one message over and over, at a rate, on a raw TLS socket in a thread of its own."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.nats import Nats

_TICK = 0.01
"""Seconds between two bursts."""


@dataclass
class Flood:
    """What was sent so far, and since when the server has ended the session."""

    sent: int = 0
    ended: float = 0


@contextmanager
def flood(nats: Nats, token: str, subject: str, data: bytes, *, rate: int, longest: float) -> Generator[Flood]:
    """Publish `data` `rate` times a second, for `longest` seconds at most or until the session ends."""
    sent_flood, stop = Flood(), threading.Event()
    connection = _login(nats, token)
    burst = f"PUB {subject} {len(data)}\r\n".encode() + data + b"\r\n"
    burst *= max(1, int(rate * _TICK))

    def send() -> None:
        begun = time.monotonic()
        with suppress(OSError):
            while not stop.wait(max(0.0, begun + sent_flood.sent / rate - time.monotonic())):
                if time.monotonic() > begun + longest:
                    return
                connection.sendall(burst)
                sent_flood.sent += int(rate * _TICK)
        sent_flood.ended = time.monotonic()

    thread = threading.Thread(target=send, name="flood", daemon=True)
    thread.start()
    try:
        yield sent_flood
    finally:
        stop.set()
        thread.join()
        connection.close()


def _login(nats: Nats, token: str) -> ssl.SSLSocket:
    at = urlsplit(nats.url)
    plain = socket.create_connection((at.hostname or "127.0.0.1", at.port or 4222), timeout=10)
    while b"\r\n" not in plain.recv(4096):
        pass
    connection = ssl.create_default_context(cadata=nats.tls.ca).wrap_socket(plain, server_hostname=at.hostname)
    hello = {"verbose": False, "pedantic": False, "lang": "raw", "version": "0", "auth_token": token, "name": token}
    connection.sendall(b"CONNECT " + json.dumps(hello).encode() + b"\r\nPING\r\n")
    answer = b""
    while b"PONG" not in answer:
        if b"-ERR" in answer:
            raise AssertionError(answer)
        answer += connection.recv(4096)
    return connection
