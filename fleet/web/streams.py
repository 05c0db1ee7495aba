"""Server-sent events: one stream a page, of which each has its own pace and its own bounds.

A stream keeps no queue of events. It keeps what its page has seen, and asks what is new when the page can take it: a
page that does not read costs the memory of one answer, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

import msgspec

from fleet.contract.errors import FleetError
from fleet.web.sessions import Session, Sessions
from fleet.web.store import Listener, Store
from fleet.web.turns import Turns

_KEEPALIVE_INTERVAL = 15.0
"""Seconds after which a silent stream says that it lives: proxies cut what is silent for a minute."""
_BATCH_DELAY = 0.03
"""Seconds in which changes that come together are gathered."""
_MIN_INTERVAL = 0.2
"""Seconds between two answers to one page."""
_PAUSE_SHARE = 3
"""An answer that took a second is followed by a pause of so many: no page takes more than a quarter of a core."""
_LONGEST_PAUSE = 5.0
_SESSION_CHECK_INTERVAL = 1.0
"""Seconds after which it is looked whether the session is still open."""
ROWS = 200
"""Rows that are made at once."""
_MAX_LINES = 300
"""Lines that one answer to a tail holds; more are left out, and counted."""
FROM_THE_NEWEST = -1
"""What a new tail has seen."""
_TAIL_BEGINS = 200
"""Lines that a new tail begins with."""
_PER_SESSION = 20
_NUMBER = re.compile(r"[0-9]{1,18}")


Follow = Callable[[Listener], Callable[[], None]]
"""Has a listener called after every change; returns what ends that."""


class TooMany(FleetError):  # noqa: N818 - reads as what it is
    """No further page is kept up to date."""


class Event(msgspec.Struct, frozen=True):
    """One event of a stream. `number` goes into its id; None stands for what is known now."""

    name: str
    data: str
    number: int | None = None


class Feed(Protocol):
    """What one page has seen, and what is new to it."""

    def next_events(self) -> Iterable[Event]:
        """What is new since the last call; each is made when the page can take it."""
        ...


class ScreenFeed:
    """A screen as markup, sent when it is another."""

    def __init__(self, render: Callable[[], str], version: Callable[[], int]) -> None:
        """The page has what it was loaded with, and gets it once more: it may be older than the stream.

        As long as `version` is the same, the screen is. It is not made to see that: each page asks once a second.
        """
        self._render = render
        self._version = version
        self._made: int | None = None
        self._sent = ""

    def next_events(self) -> list[Event]:
        """See `Feed`."""
        version = self._version()
        if version == self._made:
            return []
        text = self._render()
        self._made = version
        if text == self._sent:
            return []
        self._sent = text
        return [Event("screen", text)]


class DeviceFeed:
    """The screen of a device, and its last heartbeat in Unix seconds, empty while none was heard.

    The heartbeat is an event of its own: no screen is made anew for it.
    """

    def __init__(
        self, render: Callable[[], str], version: Callable[[], int], heartbeat: Callable[[], float | None]
    ) -> None:
        """See `ScreenFeed`."""
        self._screen = ScreenFeed(render, version)
        self._heartbeat = heartbeat
        self._sent: str | None = None

    def next_events(self) -> list[Event]:
        """See `Feed`."""
        events, at = self._screen.next_events(), self._heartbeat()
        known = "" if at is None else f"{at:.3f}"
        if known != self._sent:
            self._sent = known
            events.append(Event("heartbeat", known))
        return events


class RowsFeed:
    """The rows of the devices that changed, and whether every device is known."""

    def __init__(self, store: Store, seen: int) -> None:
        """The page has all rows as they were at the version `seen`."""
        self._store = store
        self.seen = seen
        self._complete: bool | None = None

    def next_events(self) -> Iterator[Event]:
        """See `Feed`. Many rows are several events, of which only the last has an id from which a page may go on.

        Whose version means nothing here, or is too old, gets all rows, and is told so (`whole`): what it has beside
        them is gone.
        """
        store, version = self._store, self._store.version
        seen = self.seen if store.versions.knows_rows_since(self.seen) else 0
        names, gone = store.changed_since(seen)
        complete = store.complete
        self.seen = version
        if not (names or gone or complete is not self._complete):
            return
        self._complete = complete
        parts = [names[first : first + ROWS] for first in range(0, len(names), ROWS)] or [[]]
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            news = {"rows": store.rows(part), "gone": gone if last else [], "complete": complete}
            if seen == 0 and number == 1:
                news["whole"] = True
            yield Event("rows", msgspec.json.encode(news).decode(), version if last else seen)


class TailFeed:
    """The lines that came, and how many were left out."""

    def __init__(self, store: Store, seen: int) -> None:
        """The page has every line up to the number `seen`, or is new (`FROM_THE_NEWEST`)."""
        self._tail = store.tail
        self.seen = seen

    def next_events(self) -> list[Event]:
        """See `Feed`."""
        if self.seen == FROM_THE_NEWEST:
            lines, dropped = self._tail.since(0, _TAIL_BEGINS)[0], 0
        else:
            lines, dropped = self._tail.since(self.seen, _MAX_LINES)
        self.seen = self._tail.last
        if not (lines or dropped):
            return []
        return [Event("lines", msgspec.json.encode({"lines": lines, "dropped": dropped}).decode())]


class Streams:
    """All that are open."""

    def __init__(self, store: Store, sessions: Sessions, most: int, turns: Turns | None = None) -> None:
        """At most `most` at the same time; each answer is made in one of `turns`."""
        self.turns = turns or Turns()
        self._store = store
        self._sessions = sessions
        self._most = most
        self._by_session = Counter[Session]()
        self.keepalive_interval = _KEEPALIVE_INTERVAL
        """See there. The page knows this time too: without a message for longer, it shows that it is not up to date."""
        self.ending = asyncio.Event()
        self.epoch = f"{time.time_ns():x}"
        """Of this process: versions of another one mean nothing."""

    @property
    def open(self) -> int:
        """How many there are."""
        return self._by_session.total()

    def acquire(self, session: Session) -> None:
        """Count one more.

        Raises:
            TooMany: it would be one too many.
        """
        if self._by_session[session] >= _PER_SESSION:
            raise TooMany(f"{_PER_SESSION} pages of this sign-in are kept up to date", next_step="close one of them")
        if self.open >= self._most:
            raise TooMany(f"{self._most} pages are kept up to date already", next_step="try again later")
        of_user = sum(number for held_by, number in self._by_session.items() if held_by.subject == session.subject)
        if of_user >= self._most // 2:
            raise TooMany(f"{of_user} of your pages are kept up to date already", next_step="close one of them")
        self._by_session[session] += 1

    def release(self, session: Session) -> None:
        """One is over."""
        self._by_session[session] -= 1
        if not self._by_session[session]:
            del self._by_session[session]

    def resume_from(self, last_id: str, otherwise: int) -> int:
        """The number in the id of the last event that a page had; `otherwise` where it is none of ours."""
        epoch, _, number = last_id.partition("-")
        return int(number) if epoch == self.epoch and _NUMBER.fullmatch(number) else otherwise

    async def run(
        self, session: Session, feed: Feed, number: Callable[[], int], follow: Follow | None = None
    ) -> AsyncGenerator[bytes]:
        """The events of one page until its session ends; `number` goes into their ids.

        It says up to where the page has everything, and not what is known: a page goes on there after its stream was
        cut, and something may change between the making of an event and its sending. What is new may come from
        `follow`, beside the store.
        """
        wake = asyncio.Event()
        forget = [follow_one(wake.set) for follow_one in (self._store.subscribe, follow) if follow_one is not None]
        sent, last_sent = "", time.monotonic()
        try:
            yield b"retry: 2000\n\n"
            while self._sessions.is_open(session) and not self.ending.is_set():
                wake.clear()
                news, cost = False, 0.0
                making = await self.turns.take(session.subject, partial(_begun, feed))
                while (made := await self.turns.take(session.subject, partial(next, making.value, None))).value:
                    news, cost, one = True, cost + made.cost, made.value
                    yield _encoded(one, f"{self.epoch}-{number() if one.number is None else one.number}")
                now = unavailable_json(self._store)
                if now != sent:
                    news, sent = True, now
                    yield _encoded(Event("sources", now), f"{self.epoch}-{number()}")
                pause = min(_LONGEST_PAUSE, _PAUSE_SHARE * (making.cost + cost))
                if news:
                    last_sent = time.monotonic()
                    pause = max(_MIN_INTERVAL, pause)
                elif time.monotonic() - last_sent >= self.keepalive_interval:
                    last_sent = time.monotonic()
                    # A comment, for people, and an event, because a browser hides comments from the page.
                    yield b": still here\n" + _encoded(Event("keepalive", "."), f"{self.epoch}-{number()}")
                await asyncio.sleep(pause)
                await self._until(wake, session)
            if not self.ending.is_set():
                yield _encoded(Event("end", "your session has ended"), f"{self.epoch}-{number()}")
        finally:
            for end in forget:
                end()

    async def _until(self, wake: asyncio.Event, session: Session) -> None:
        """Wait until something changed, it is time for a comment, or it is time to look at the session."""
        left = max(0.0, min(_SESSION_CHECK_INTERVAL, self.keepalive_interval, session.expires - time.time()))
        try:
            async with asyncio.timeout(left):
                await wake.wait()
            await asyncio.sleep(_BATCH_DELAY)
        except TimeoutError:
            pass


def _begun(feed: Feed) -> Iterator[Event]:
    return iter(feed.next_events())


def unavailable_json(store: Store) -> str:
    """Which sources do not answer, since when, and whether what is shown is as old as that, as JSON."""
    found = [{**msgspec.structs.asdict(one), "outdated": one.outdated} for one in store.sources.unavailable]
    return msgspec.json.encode(found).decode()


def _encoded(event: Event, number: str) -> bytes:
    """An event as it travels (HTML standard, "Server-sent events"): each line of the data by itself."""
    data = "".join(f"data: {line}\n" for line in event.data.split("\n"))
    return f"id: {number}\nevent: {event.name}\n{data}\n".encode()
