"""Connections without a request keep no user out, and cost little."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from fleet.web.connections import Connection, Limits, Stage
from harness.wait import wait_until
from tests.support.tls import Tls
from tests.support.web import OFFLINE, RunningPage, device, web_page

HOURS = 10_000.0
SLOW: dict[str, Any] = {"first_request_within": HOURS, "idle_within": HOURS, "answered_within": HOURS}
"""No time ends anything: what goes, goes for want of room."""
ASK = b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\n\r\n"
PART = b"GET /sign-in HTTP/1.1\r\n"


@contextlib.contextmanager
def page_with(tls: Tls, limits: Limits) -> Generator[RunningPage]:
    """A page that lets so many in."""
    running = RunningPage(web_page(tls), limits=limits)
    with contextlib.closing(running):
        yield running


class Strangers:
    """Connections of people who are not signed in. Each waits a minute at most for what must come."""

    def __init__(self, page: RunningPage) -> None:
        self._port = urlsplit(page.url).port
        self._stack = ExitStack()
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    def __enter__(self) -> Strangers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """TCP from this address, and nothing said."""
        server = ("127.0.0.1", self._port or 0)
        return self._stack.enter_context(socket.create_connection(server, timeout=60, source_address=(source, 0)))

    def tls(self, words: bytes = b"", source: str = "127.0.0.1") -> ssl.SSLSocket:
        """With TLS from this address, and these words said."""
        return self.begin_tls(self.connect(source), words)

    def begin_tls(self, connection: socket.socket, words: bytes = b"") -> ssl.SSLSocket:
        """TLS on a connection that said nothing so far."""
        found = self._stack.enter_context(self._context.wrap_socket(connection))
        found.sendall(words)
        return found


class Full:
    """A listener for which the process has no file left, so many times."""

    def __init__(self, listener: socket.socket, refused: int) -> None:
        self._listener = listener
        self.refused = refused

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        if self.refused:
            self.refused -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._listener.accept()


def is_closed(connection: socket.socket) -> bool:
    """Read to the end, which comes within a minute or fails the test."""
    try:
        while connection.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True


def answers(page: RunningPage) -> bool:
    """Somebody who is signed in gets the first screen, by a connection of his own."""
    with httpx.Client(verify=False, cookies=page.cookie(), timeout=60) as client:
        return client.get(page.url, headers={"accept": "text/html"}).status_code == 200


def test_of_those_that_say_nothing_the_oldest_go(tls: Tls) -> None:
    with page_with(tls, Limits(open=10, silent=5, **SLOW)) as page, Strangers(page) as strangers:
        silent: list[socket.socket] = []
        for number in range(8):
            silent.append(strangers.connect())
            wait_until(lambda: page.connections(Stage.SILENT) == min(number + 1, 5), "it is counted", timeout=60)  # noqa: B023
        assert all(map(is_closed, silent[:3]))
        assert answers(page)
        assert is_closed(silent[3]), "it gave way to the one that was answered"
        wait_until(lambda: page.connections(*Stage) == 4, "the answered one is gone", timeout=60)
        silent[-1].close()
        wait_until(lambda: page.connections(*Stage) == 3, "so is one that ended by itself", timeout=60)


@pytest.mark.parametrize("words", [b"", PART, ASK], ids=["nothing", "a part of a request", "one request"])
def test_those_with_tls_that_ask_nothing_give_way(tls: Tls, words: bytes) -> None:
    with page_with(tls, Limits(open=4, **SLOW)) as page, Strangers(page) as strangers:
        held: list[socket.socket] = []
        stage = Stage.IDLE if words is ASK else Stage.HANDSHAKE
        for number in range(4):
            held.append(strangers.tls(words))
            wait_until(lambda: page.connections(stage) == number + 1, "it is counted", timeout=60)  # noqa: B023
        assert answers(page)
        assert is_closed(held[0]), "the oldest gave way"
        wait_until(lambda: page.connections(*Stage) == 3, "the others are still there", timeout=60)


def test_a_handshake_that_stands_still_gives_way(tls: Tls) -> None:
    with page_with(tls, Limits(open=2, **SLOW)) as page, Strangers(page) as strangers:
        begun = [strangers.connect() for _ in range(2)]
        for number, one in enumerate(begun):
            one.sendall(b"\x16")
            wait_until(lambda: page.connections(Stage.HANDSHAKE) == number + 1, "TLS has begun", timeout=60)  # noqa: B023
        assert answers(page)
        assert is_closed(begun[0])


@pytest.mark.parametrize("words", [b"", b"\x16"], ids=["nothing", "a byte"])
def test_who_does_not_come_to_tls_is_closed(tls: Tls, words: bytes) -> None:
    with page_with(tls, Limits(open=10, first_request_within=0.2)) as page, Strangers(page) as strangers:
        one = strangers.connect()
        one.sendall(words)
        assert is_closed(one)
        wait_until(lambda: page.connections(*Stage) == 0, "it is forgotten", timeout=60)


@pytest.mark.parametrize("words", [b"", PART], ids=["nothing", "a part of a request"])
def test_who_does_not_come_to_a_request_is_closed(tls: Tls, words: bytes) -> None:
    with page_with(tls, Limits(open=10, first_request_within=3)) as page, Strangers(page) as strangers:
        with contextlib.suppress(OSError):  # on a machine that is full it may be closed before TLS stands
            assert is_closed(strangers.tls(words))
        wait_until(lambda: page.connections(*Stage) == 0, "it is forgotten", timeout=60)


@pytest.mark.parametrize("then", [b"", PART], ids=["nothing", "a part of a request"])
def test_who_has_an_answer_and_asks_no_more_is_closed(tls: Tls, then: bytes) -> None:
    with page_with(tls, Limits(open=10, idle_within=0.2)) as page, Strangers(page) as strangers:
        one = strangers.tls(ASK)
        assert one.recv(15) == b"HTTP/1.1 200 OK"
        with contextlib.suppress(OSError):
            one.sendall(then)
        assert is_closed(one)


def test_a_stranger_that_does_not_read_is_closed(tls: Tls) -> None:
    with page_with(tls, Limits(open=10, answered_within=1, idle_within=HOURS)) as page, Strangers(page) as strangers:
        one = strangers.tls()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ask = ASK.replace(b"/sign-in", b"/static/devices.js") * 1_000
        with contextlib.suppress(OSError):  # it is closed while we still write
            one.sendall(ask * 20)
        wait_until(lambda: page.connections(*Stage) == 0, "it is closed", timeout=60)


def test_a_viewer_that_does_not_read_is_closed(tls: Tls) -> None:
    """It would hold its place, and memory, also after its sign-out."""
    limits = Limits(open=10, stalled_within=0.3, **SLOW)
    with page_with(tls, limits) as page, Strangers(page) as strangers:
        page.show(*(device(f"pi-{number}", site="x" * 60) for number in range(3_000)))
        words = f"GET /devices.json HTTP/1.1\r\nHost: localhost\r\nCookie: {page.cookie_header()}\r\n\r\n"
        connection = strangers.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        strangers.begin_tls(connection, words.encode() * 20)
        wait_until(lambda: page.connections(Stage.AUTHENTICATED) == 1, "it is answered", timeout=60)
        wait_until(lambda: page.connections(*Stage) == 0, "it is closed", timeout=60)


def stream_of(page: RunningPage, user: str) -> bytes:
    """The request of a user for a stream."""
    return f"GET /events/now HTTP/1.1\r\nHost: localhost\r\nCookie: {page.cookie_header(user)}\r\n\r\n".encode()


def test_one_user_keeps_half_of_the_places_at_most(tls: Tls) -> None:
    with page_with(tls, Limits(open=6, **SLOW)) as page, Strangers(page) as strangers:
        held = [strangers.tls(stream_of(page, "greedy"))]
        for number in range(1, 6):
            held.append(strangers.tls(stream_of(page, "greedy")))
            wait_until(lambda: page.do(lambda: page.parts.streams.open) == number + 1, "it is followed", timeout=60)  # noqa: B023
        assert page.connections(Stage.AUTHENTICATED) == 3
        assert page.connections(Stage.REQUESTING) == 3
        for number in range(3):
            strangers.tls(stream_of(page, f"other-{number}"))
            wait_until(lambda: page.connections(Stage.AUTHENTICATED) == 4 + number, "it is followed", timeout=60)  # noqa: B023
        assert all(map(is_closed, held[3:])), "these gave way to others"
        assert page.connections(*Stage) == 6
        held[0].close()
        wait_until(lambda: page.connections(Stage.AUTHENTICATED) == 5, "one is closed", timeout=60)
        strangers.tls(stream_of(page, "greedy"))
        wait_until(lambda: page.connections(Stage.AUTHENTICATED) == 6, "it has its place again", timeout=60)


def test_a_page_that_is_kept_up_to_date_does_not_give_way(tls: Tls) -> None:
    with page_with(tls, Limits(open=2, **SLOW)) as page, Strangers(page) as strangers:
        page.show(device("pi-1"))
        streams = [strangers.tls(stream_of(page, user)) for user in ("user-1", "user-2")]
        wait_until(lambda: page.connections(Stage.AUTHENTICATED) == 2, "both are followed", timeout=60)
        with pytest.raises(OSError):
            strangers.tls(ASK).recv(1)
        page.change("Device", device("pi-1", OFFLINE, version=2))
        for one in streams:
            seen = b""
            while b"HeartbeatMissed" not in seen:
                more = one.recv(65536)
                assert more, "the stream ended"
                seen += more


def test_without_a_file_for_another_connection_it_waits_and_goes_on(
    tls: Tls, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with page_with(tls, Limits(open=10)) as page:
        (acceptor,) = page.acceptors()
        listener = Full(vars(acceptor)["_listener"], refused=2)
        monkeypatch.setattr(acceptor, "_listener", listener)
        assert answers(page)
        assert listener.refused == 0
    assert "Too many open files" in "".join(capfd.readouterr())


ATTACKER = "127.0.0.2"
OK = b"HTTP/1.1 200 OK"


def flood(open_one: Callable[[], socket.socket], room: int) -> None:
    """Far more connections than there is room for, until those that are too many are closed."""
    held = [open_one() for _ in range(room + 20)]
    assert all(map(is_closed, held[:20]))


def ask(connection: ssl.SSLSocket) -> int:
    """The status of the answer to a request on this connection, which stays open."""
    connection.sendall(ASK)
    with contextlib.closing(HTTPResponse(connection)) as answer:
        answer.begin()
        answer.read()
        return answer.status


def test_an_address_that_floods_takes_no_place_of_another_that_is_slow(tls: Tls) -> None:
    with page_with(tls, Limits(open=10, silent=5, **SLOW)) as page, Strangers(page) as strangers:
        silent = strangers.connect()
        wait_until(lambda: page.connections(Stage.SILENT) == 1, "it is counted", timeout=60)
        flood(lambda: strangers.connect(ATTACKER), room=5)
        slow = strangers.begin_tls(silent)
        flood(lambda: strangers.tls(PART, ATTACKER), room=10)
        assert ask(slow) == 200
        flood(lambda: strangers.tls(ASK, ATTACKER), room=10)
        assert ask(slow) == 200, "it was kept between two requests"


def test_behind_a_proxy_all_users_have_one_address_and_are_let_in(tls: Tls) -> None:
    with page_with(tls, Limits(open=40, silent=5, **SLOW)) as page, Strangers(page) as strangers:
        words = f"GET /events/now HTTP/1.1\r\nHost: localhost\r\nCookie: {page.cookie_header()}\r\n\r\n"
        for number in range(20):
            strangers.tls(words.encode())
            wait_until(lambda: page.connections(Stage.AUTHENTICATED) == number + 1, "it is followed", timeout=60)  # noqa: B023
        flood(lambda: strangers.tls(PART, ATTACKER), room=20)
        users = [strangers.tls() for _ in range(10)]
        assert [ask(one) for one in users] == [200] * 10
        assert page.connections(Stage.AUTHENTICATED) == 20


def test_the_address_with_the_most_gives_way_and_of_it_what_asks_nothing(tls: Tls) -> None:
    with page_with(tls, Limits(open=10, **SLOW)) as page, ExitStack() as stack:
        (acceptor,) = page.acceptors()

        def add(network: str, stage: Stage) -> Connection:
            pair = [stack.enter_context(one) for one in socket.socketpair()]
            connection = Connection(acceptor.connections, pair[0], network)
            page.do(lambda: acceptor.connections.count(connection, stage))
            return connection

        def dropped() -> Connection:
            before = {one for one in connections if one.stage is not None}
            assert page.do(lambda: acceptor.connections.make_room(Stage.HANDSHAKE, Stage.IDLE, Stage.REQUESTING))
            (found,) = (one for one in before if one.stage is None)
            return found

        idle = add("user", Stage.IDLE)
        begun = add("user", Stage.REQUESTING)
        flooding = [add("attacker", Stage.REQUESTING) for _ in range(3)]
        flooding.append(add("attacker", Stage.HANDSHAKE))
        connections = [idle, begun, *flooding]
        assert [dropped() for _ in range(2)] == [flooding[3], flooding[0]]
        assert [dropped() for _ in range(2)] == [idle, flooding[1]], "both had two: who asks nothing goes first"
