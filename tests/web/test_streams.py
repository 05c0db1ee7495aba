"""Live by server-sent events: what a page is told, how little it can cost, and when it ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import pytest

from fleet.web.streams import RowsFeed, ScreenFeed, Streams, TailFeed, TooMany
from fleet.web.turns import Done, Turns
from harness.wait import wait_until
from tests.support.tls import Tls
from tests.support.web import OFFLINE, RunningPage, device, web_page

Event = tuple[str, str, str]
T = TypeVar("T")


@contextmanager
def stream(page: RunningPage, path: str, cookie: dict[str, str], **headers: str) -> Generator[Callable[[], Event]]:
    """The events of one stream, one at a time: id, name and data."""
    with (
        httpx.Client(base_url=page.url, verify=False, cookies=cookie, timeout=30) as client,
        client.stream("GET", path, headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["x-accel-buffering"] == "no"
        lines = answer.iter_lines()

        def read() -> Event:
            found: dict[str, list[str]] = {}
            for line in lines:
                if not line and "event" in found:
                    return found["id"][0], found["event"][0], "\n".join(found["data"])
                name, _, value = line.partition(": ")
                found.setdefault(name, []).append(value)
            raise AssertionError("the stream ended without another event")

        yield read


def until(read: Callable[[], Event], name: str) -> Event:
    event = read()
    while event[1] != name:
        event = read()
    return event


def test_a_screen_comes_whole_and_again_when_it_changed(page: RunningPage) -> None:
    page.show(device("pi-1"))
    with stream(page, "/events/now", page.cookie()) as read:
        assert "Nothing is wrong" in until(read, "screen")[2]
        page.change("Device", device("pi-1", OFFLINE, version=2))
        assert "HeartbeatMissed" in until(read, "screen")[2]


def test_a_list_is_told_which_rows_changed_and_which_went(page: RunningPage) -> None:
    page.show(device("pi-1"), device("pi-2"))
    with stream(page, "/events/devices", page.cookie()) as read:
        first = until(read, "rows")
        assert len(json.loads(first[2])["rows"]) == 2
        page.change("Device", device("pi-2", OFFLINE, version=2))
        changed = until(read, "rows")
        assert [row[:2] for row in json.loads(changed[2])["rows"]] == [["pi-2", "no"]]
        page.change("Device", device("pi-1"), deleted=True)
        assert json.loads(until(read, "rows")[2])["gone"] == ["pi-1"]
    with stream(page, "/events/devices", page.cookie(), **{"last-event-id": changed[0]}) as read:
        assert json.loads(until(read, "rows")[2]) == {"rows": [], "gone": ["pi-1"], "complete": True}, (
            "it goes on where it was"
        )
    with stream(page, "/events/devices", page.cookie(), **{"last-event-id": "another-process-7"}) as read:
        assert [row[0] for row in json.loads(until(read, "rows")[2])["rows"]] == ["pi-2"], "all of it again"


def test_a_tail_goes_on_where_it_was_and_says_what_it_left_out(page: RunningPage) -> None:
    known = page.parts.store

    def lines(count: int) -> None:
        page.do(lambda: [known.add_invalid_message("device-info", "pi-1", f"line {n}") for n in range(count)])

    with stream(page, "/events/tail", page.cookie()) as read:
        lines(3)
        told = until(read, "lines")
        assert [one[4] for one in json.loads(told[2])["lines"]] == [f"cannot be read: line {n}" for n in range(3)]
    lines(1_000)
    with stream(page, "/events/tail", page.cookie(), **{"last-event-id": told[0]}) as read:
        news = json.loads(until(read, "lines")[2])
        assert (len(news["lines"]), news["dropped"]) == (300, 700)
        assert news["lines"][-1][4].endswith("line 999"), "the newest are what is kept"


class BusyTurns(Turns):
    """Something changes after each piece of work: that is so where a fleet says much."""

    def __init__(self, change: Callable[[], None]) -> None:
        super().__init__()
        self.change = change

    async def take(self, user: str, work: Callable[[], T]) -> Done[T]:
        done = await super().take(user, work)
        self.change()
        return done


def test_a_tail_that_is_cut_among_changes_says_each_of_them_or_that_it_left_some_out(page: RunningPage) -> None:
    known, streams = page.parts.store, page.parts.streams
    usual = streams.turns
    page.do(lambda: known.add_invalid_message("device-info", "pi-1", "the first"))
    streams.turns = BusyTurns(lambda: known.add_invalid_message("device-info", "pi-1", "meanwhile"))
    with stream(page, "/events/tail", page.cookie()) as read:
        told = until(read, "lines")
    streams.turns = usual
    with stream(page, "/events/tail", page.cookie(), **{"last-event-id": told[0]}) as read:
        news = json.loads(until(read, "lines")[2])
    assert news["dropped"] == 0
    assert news["lines"][0][0] == json.loads(told[2])["lines"][-1][0] + 1, "the next line, and none is lost"


def test_a_list_that_is_cut_among_changes_is_told_of_them(page: RunningPage) -> None:
    page.show(device("pi-1"))
    known, streams = page.parts.store, page.parts.streams
    usual, away = streams.turns, json.dumps(device("pi-1", OFFLINE, version=2)).encode()
    takes: list[None] = []

    def change() -> None:
        takes.append(None)
        if len(takes) == 3:  # the rows were sent, and the event after them was not
            known.apply_change("Device", away, deleted=False)

    streams.turns = BusyTurns(change)
    with stream(page, "/events/devices", page.cookie()) as read:
        told = until(read, "sources")
    streams.turns = usual
    with stream(page, "/events/devices", page.cookie(), **{"last-event-id": told[0]}) as read:
        assert [row[:2] for row in json.loads(until(read, "rows")[2])["rows"]] == [["pi-1", "no"]]


def test_a_part_that_goes_is_told_at_once(page: RunningPage) -> None:
    began = time.time()
    page.do(lambda: page.parts.store.sources.mark_available("NATS"))
    with stream(page, "/events/tail", page.cookie()) as read:
        assert json.loads(until(read, "sources")[2]) == []
        page.do(lambda: page.parts.store.sources.mark_unavailable("NATS", "the connection is lost"))
        (away,) = json.loads(until(read, "sources")[2])
        assert (away["name"], away["why"]) == ("NATS", "the connection is lost")
        assert began <= away["since"] <= time.time(), "when it last answered"


def test_a_stream_ends_with_the_session(page: RunningPage) -> None:
    with stream(page, "/events/tail", page.cookie(lasts=3600)) as read:
        assert until(read, "sources")[2] == "[]"
        page.advance_clock(3590)
        page.do(lambda: page.parts.store.add_invalid_message("device-info", "pi-1", "just before"))
        assert "just before" in until(read, "lines")[2]
        page.advance_clock(3610)
        assert until(read, "end")[2] == "your session has ended"
    page.advance_clock(0)
    cookie = page.cookie()
    with stream(page, "/events/tail", cookie) as read:
        page.do(lambda: page.parts.sessions.end(cookie[page.session_cookie]))
        assert until(read, "end")[1] == "end", "signed out"


def test_a_device_that_goes_while_it_is_shown_is_said_to_be_gone(page: RunningPage) -> None:
    page.show(device("pi-1"))
    with stream(page, "/events/device/pi-1", page.cookie()) as read:
        assert "pi-1" in until(read, "screen")[2]
        page.change("Device", device("pi-1"), deleted=True)
        assert "there is no device pi-1 any more" in until(read, "screen")[2]


def test_beyond_the_limit_a_stream_is_refused_in_words_and_a_place_becomes_free(tls: Tls) -> None:
    page = RunningPage(web_page(tls, most_streams=2))
    try:
        with stream(page, "/events/tail", page.cookie()):
            others = page.cookie(subject="user-2"), page.cookie(subject="user-3")
            with stream(page, "/events/now", others[0]), httpx.Client(verify=False, cookies=others[1]) as third:
                refused = third.get(f"{page.url}/events/now")
                assert refused.status_code == 429
                assert "2 pages are kept up to date already" in refused.text
            wait_until(
                lambda: page.do(lambda: page.parts.streams.open), "one stream", timeout=60, until=lambda n: n == 1
            )
            with stream(page, "/events/now", others[0]) as read:
                assert "Now" in until(read, "screen")[2]
    finally:
        page.close()


def test_one_sign_in_holds_no_more_than_its_share(page: RunningPage) -> None:
    def greedy() -> int:
        _, session = page.parts.sessions.begin("user", "", time.time() + 60)
        for _ in range(20):
            page.parts.streams.acquire(session)
        with pytest.raises(TooMany, match="20 pages of this sign-in"):
            page.parts.streams.acquire(session)
        return page.parts.streams.open

    assert page.do(greedy) == 20


def test_one_user_holds_no_more_than_half_however_often_signed_in(page: RunningPage) -> None:
    def greedy() -> int:
        begun = [page.parts.sessions.begin("user", "", time.time() + 60)[1] for _ in range(10)]
        for number in range(100):
            page.parts.streams.acquire(begun[number % len(begun)])
        with pytest.raises(TooMany, match="100 of your pages"):
            page.parts.streams.acquire(begun[0])
        _, other = page.parts.sessions.begin("other", "", time.time() + 60)
        page.parts.streams.acquire(other)
        return page.parts.streams.open

    assert page.do(greedy) == 101


def test_a_number_that_nobody_gave_counts_as_none(page: RunningPage) -> None:
    """More than 4,300 digits are no number to Python either."""
    streams = page.parts.streams
    assert streams.resume_from(f"{streams.epoch}-12", 7) == 12
    for number in ("9" * 5_000, "", "-1", "1e3"):
        assert streams.resume_from(f"{streams.epoch}-{number}", 7) == 7


def test_a_page_that_does_not_read_holds_nothing_back(page: RunningPage) -> None:
    """A feed keeps what its page has seen, and no queue: however much changes, its next answer is one answer."""

    def work() -> Any:  # noqa: ANN401
        known = page.parts.store
        slow_rows, slow_tail = RowsFeed(known, known.version), TailFeed(known, known.tail.last)
        slow_screen = ScreenFeed(lambda: str(known.version), lambda: known.version)
        slow_screen.next_events()
        for number in range(5_000):
            known.apply_change("Device", json.dumps(device("pi-1", version=number + 1)).encode(), deleted=False)
            known.add_invalid_message("device-info", "pi-1", str(number))
        (rows,), (lines,), screens = slow_rows.next_events(), slow_tail.next_events(), slow_screen.next_events()
        return len(json.loads(rows.data)["rows"]), json.loads(lines.data)["dropped"], len(screens)

    rows, dropped, screens = page.do(work)
    assert (rows, screens) == (1, 1)
    assert dropped > 4_000


def test_a_silent_stream_says_that_it_lives(page: RunningPage) -> None:
    """Proxies cut what is silent for a minute: there is a comment well before, and an event that the page sees."""
    assert page.parts.streams.keepalive_interval == 15

    async def first_comment() -> bytes:
        streams = Streams(page.parts.store, page.parts.sessions, 10)
        streams.keepalive_interval = 0.1
        _, session = page.parts.sessions.begin("user", "", time.time() + 60)
        feed = TailFeed(page.parts.store, page.parts.store.tail.last)
        async for chunk in streams.run(session, feed, lambda: 0):
            if chunk.startswith(b":"):
                return chunk
        return b""

    comment, identity, *event = asyncio.run(first_comment()).split(b"\n")
    assert comment == b": still here"
    assert identity.startswith(b"id: ")
    assert event == [b"event: keepalive", b"data: .", b"", b""]
