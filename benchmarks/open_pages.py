"""Pages that are kept open in a process of their own, so that reading them costs neither the page nor who measures.

Browsers have machines of their own; here they are the last to get a processor.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from urllib.parse import urlsplit

_OPENED_WITHIN = 300.0


@contextmanager
def held_open(url: str, cookies: Sequence[str], screens: Sequence[str], pages: int) -> Generator[None]:
    """So many pages of these screens, each with its stream, by cookies (`name=value`) in turn.

    Raises:
        RuntimeError: one was refused.
    """
    spawn = multiprocessing.get_context("spawn")
    opened, stop = spawn.Event(), spawn.Event()
    holding = spawn.Process(target=_hold, args=(url, cookies, screens, pages, opened, stop), daemon=True)
    holding.start()
    try:
        if not opened.wait(_OPENED_WITHIN):
            raise RuntimeError(f"{pages} pages could not be opened")
        yield
    finally:
        stop.set()
        holding.join()


def _hold(url: str, cookies: Sequence[str], screens: Sequence[str], pages: int, opened: Event, stop: Event) -> None:
    """Open them, and read what comes."""
    os.nice(19)
    where = urlsplit(url)
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    streams: list[ssl.SSLSocket] = []
    for number in range(pages):
        stream = trust.wrap_socket(socket.create_connection((where.hostname, where.port)))
        head = f"GET /events/{screens[number % len(screens)]} HTTP/1.1\r\nHost: {where.netloc}\r\n"
        stream.sendall(f"{head}Cookie: {cookies[number % len(cookies)]}\r\n\r\n".encode())
        answer = stream.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a page was refused: {answer[:200]!r}")
        stream.setblocking(False)
        streams.append(stream)
    opened.set()
    while not stop.wait(0.2):
        for stream in streams:
            try:
                while stream.recv(65536):
                    pass
            except (ssl.SSLWantReadError, BlockingIOError):
                pass
