"""Streams over real sockets: as many as there may be, one too many, and browsers that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from fleet.web.connections import Limits
from harness.wait import wait_until
from tests.support.tls import Tls
from tests.support.web import OFFLINE, RunningPage, device, web_page

_MOST, _ASKED, _PER_SIGN_IN = 200, 500, 20
_KEPT = 1024 * 1024
"""Bytes that the page may hold for a browser that does not read, beside what the kernel does."""
_ROWS, _TURNS, _LONG = 1_000, 60, "x" * 40


class Stream:
    """A connection that asked for a stream. It is read only when the test does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self._writer = reader, writer

    @classmethod
    async def opened(cls, url: str, path: str, cookie: str, *, buffer: int = 0) -> Stream:
        """`buffer` is the bytes that this end takes before it is read; 0 leaves them to the system."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        where = urlsplit(url)
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", where.port))
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=context, server_hostname="localhost", limit=buffer or 65536
        )
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nCookie: {cookie}\r\n\r\n".encode())
        await writer.drain()
        return cls(reader, writer)

    async def status(self) -> int:
        return int((await self.reader.readline()).split()[1])

    async def until(self, text: bytes) -> None:
        """Read until this comes."""
        seen = b""
        while text not in seen:
            more = await self.reader.read(65536)
            assert more, "the stream ended"
            seen = seen[-len(text) :] + more

    def close(self) -> None:
        self._writer.transport.abort()


def test_of_five_hundred_streams_two_hundred_are_kept_and_the_rest_refused_in_words(page: RunningPage) -> None:
    page.show(device("pi-1"))
    cookies = [page.cookie_header(f"user-{number}") for number in range(_ASKED // _PER_SIGN_IN)]

    async def run() -> Counter[int]:
        turns = asyncio.Semaphore(20)
        opened: list[tuple[int, Stream]] = []

        async def one(number: int) -> None:
            async with turns:
                made = await Stream.opened(page.url, "/events/now", cookies[number % len(cookies)])
                opened.append((await made.status(), made))

        try:
            await asyncio.gather(*map(one, range(_ASKED)))
            assert page.do(lambda: page.parts.streams.open) == _MOST
            for status, made in opened:
                if status == 429:
                    await made.until(b"200 pages are kept up to date already: try again later")
            await asyncio.to_thread(page.change, "Device", device("pi-1", OFFLINE, version=2))
            await asyncio.gather(*(made.until(b"HeartbeatMissed") for status, made in opened if status == 200))
            return Counter(status for status, _ in opened)
        finally:
            for _, made in opened:
                made.close()

    found = asyncio.run(asyncio.wait_for(run(), 300))
    assert found == {200: _MOST, 429: _ASKED - _MOST}
    wait_until(lambda: page.do(lambda: page.parts.streams.open) == 0, "their places are free", timeout=60)


@pytest.fixture
def patient(tls: Tls) -> Iterator[RunningPage]:
    """A page that does not close who reads nothing: what such a browser costs is seen while it is there."""
    page = RunningPage(web_page(tls), limits=Limits(open=400, stalled_within=10_000))
    with contextlib.closing(page):
        yield page


def test_a_browser_that_does_not_read_costs_one_answer_and_holds_nobody_up(patient: RunningPage) -> None:
    page = patient
    cookie = page.cookie_header()

    def all_change(turn: int) -> None:
        """Every row is another one."""
        page.show(*(device(f"dev-{number:04}", OFFLINE, site=f"t{turn}-{number}-{_LONG}") for number in range(_ROWS)))

    async def run() -> tuple[int, int]:
        all_change(0)
        stuck = [await Stream.opened(page.url, "/events/devices", cookie, buffer=4096) for _ in range(5)]
        reader = await Stream.opened(page.url, "/events/devices", cookie)
        try:
            for turn in range(1, _TURNS):
                await asyncio.to_thread(all_change, turn)
                await reader.until(f"t{turn}-".encode())
            return page.do(lambda: page.parts.streams.open), page.do(page.kept_for_browsers)
        finally:
            for one in (*stuck, reader):
                one.close()

    still_open, kept = asyncio.run(asyncio.wait_for(run(), 300))
    assert still_open == 6, "the stuck ones were there all the time"
    assert kept < 5 * _KEPT
