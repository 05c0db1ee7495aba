"""A user who wants many screens waits for himself: seen in who is served when and how often, and not in times."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest

from fleet.contract.errors import NotFound
from fleet.web.sessions import Sessions
from fleet.web.store import Store
from fleet.web.streams import Event, Streams, TailFeed
from fleet.web.turns import Turns
from harness.wait import wait_until
from tests.support.web import RunningPage, condition, deployment, device


def turns() -> Turns:
    """Each work takes a second by its clock, and nobody rests."""
    seconds = itertools.count()
    return Turns(lambda: float(next(seconds)), rest=0)


def served(scene: Callable[[Callable[[str, int], None]], Awaitable[None]], fair: Turns | None = None) -> list[str]:
    """Play a scene that asks for users; whose work was done, in its order."""
    order: list[str] = []

    async def run() -> None:
        chosen = fair or turns()
        asked: list[asyncio.Task[object]] = []

        def ask(user: str, times: int = 1) -> None:
            asked.extend(asyncio.create_task(chosen.take(user, lambda: order.append(user))) for _ in range(times))

        await scene(ask)
        await asyncio.gather(*asked)

    asyncio.run(run())
    return order


def test_a_newcomer_comes_after_what_is_under_way() -> None:
    async def scene(ask: Callable[[str, int], None]) -> None:
        ask("many", 50)
        await asyncio.sleep(0)
        ask("one", 1)
        ask("two", 1)

    assert set(served(scene)[2:4]) == {"one", "two"}


def test_users_who_all_want_more_take_turns() -> None:
    async def scene(ask: Callable[[str, int], None]) -> None:
        ask("a", 30)
        ask("b", 3)
        ask("c", 3)

    assert served(scene)[:10] == ["a", "b", "c"] * 3 + ["a"]


def test_who_was_away_has_saved_nothing_up() -> None:
    async def scene(ask: Callable[[str, int], None]) -> None:
        ask("a", 20)
        for _ in range(100):
            await asyncio.sleep(0)
        ask("a", 4)
        ask("b", 4)

    assert served(scene)[20:] == ["a", "b"] * 4


def test_what_nobody_waits_for_any_more_is_not_done_and_holds_nobody_up() -> None:
    async def run() -> list[str]:
        fair, order = turns(), list[str]()
        asked = [asyncio.create_task(fair.take("gone", lambda: order.append("gone"))) for _ in range(20)]
        kept = asyncio.create_task(fair.take("kept", lambda: order.append("kept")))
        await asyncio.sleep(0)
        for one in asked:
            one.cancel()
        await kept
        await asyncio.gather(*asked, return_exceptions=True)
        await fair.take("kept", lambda: order.append("kept"))
        return order

    assert [one for one in asyncio.run(run()) if one == "kept"] == ["kept", "kept"]
    assert asyncio.run(run()).count("gone") <= 1


def test_work_that_fails_fails_whoever_asked() -> None:
    def missing() -> None:
        raise NotFound("there is no such device", next_step="see the list")

    async def run() -> tuple[object, object, object]:
        fair = turns()
        first = asyncio.create_task(fair.take("a", missing))
        return await asyncio.gather(first, fair.take("b", missing), fair.take("c", lambda: 3), return_exceptions=True)

    first, second, third = asyncio.run(run())
    assert isinstance(first, NotFound)
    assert isinstance(second, NotFound)
    assert getattr(third, "value", None) == 3


def test_the_process_does_something_else_for_as_long_as_the_work_took() -> None:
    """By its clock a work takes an hour, so a second one is not done at once, whoever asks."""
    seconds = itertools.count(step=3600)

    async def run() -> list[str]:
        fair, order = Turns(lambda: float(next(seconds))), list[str]()
        await fair.take("a", lambda: order.append("a"))
        waiting = asyncio.create_task(fair.take("b", lambda: order.append("b")))
        for _ in range(100):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return order

    assert asyncio.run(run()) == ["a"]


def test_short_work_is_followed_by_none_of_that() -> None:
    """A list of 10,000 devices is made in fifty parts."""
    seconds = itertools.count(step=0.001)

    async def run() -> int:
        fair = Turns(lambda: float(next(seconds)), rest=3600 * 1000)
        return sum([(await fair.take("a", lambda: 1)).value for _ in range(50)])

    assert asyncio.run(run()) == 50


class _Feed:
    """A screen that is another one each time."""

    def __init__(self) -> None:
        self.made = 0

    def next_events(self) -> list[Event]:
        self.made += 1
        return [Event("screen", str(self.made))]


@pytest.mark.parametrize(("cost", "made"), [(3600.0, 1), (0.0, 5)])
def test_a_screen_that_takes_long_is_made_anew_less_often(
    cost: float, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that come meanwhile are shown together. The tail, which costs nothing, is the clock of this test."""
    monkeypatch.setattr("fleet.web.streams._MIN_INTERVAL", 0.0)
    monkeypatch.setattr("fleet.web.streams._BATCH_DELAY", 0.0)
    monkeypatch.setattr("fleet.web.streams._LONGEST_PAUSE", 3600.0)

    async def run() -> int:
        store, sessions = Store(), Sessions()
        _, session = sessions.begin("user", "", time.time() + 3600)
        clock = itertools.count(step=cost)
        costly, cheap = (
            Streams(store, sessions, 10, Turns(lambda: float(next(clock)), rest=0)),
            Streams(store, sessions, 10),
        )
        feed, tail = _Feed(), TailFeed(store, store.tail.last)
        screens = costly.run(session, feed, lambda: 0)
        lines = cheap.run(session, tail, lambda: 0)

        async def read() -> None:
            async for _ in screens:
                pass

        reading = asyncio.create_task(read())
        for number in range(50):
            store.add_invalid_message("device-info", "pi-1", f"line {number}")
            async for chunk in lines:
                if f"line {number}".encode() in chunk:
                    break
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await lines.aclose()
        return feed.made

    found = asyncio.run(run())
    assert found == made if cost else found >= made


@pytest.mark.parametrize(
    "path",
    ["/", "/devices", "/devices.json", "/devices/pi-1", "/deployments", "/deployments/web", "/tail"]
    + [f"/events/{one}" for one in ("now", "devices", "device/pi-1", "deployments", "deployment/web", "tail")],
)
def test_whatever_costs_time_is_done_in_a_turn_of_the_user_who_asked(page: RunningPage, path: str) -> None:
    page.show(device("pi-1"), deployments=(deployment("web", condition("Ready", "True", "AllReady")),))
    users: list[str] = []
    chosen = page.parts.streams.turns
    take = chosen.take

    async def recorded(user: str, work: Callable[[], object]) -> object:
        users.append(user)
        return await take(user, work)

    page.do(lambda: setattr(chosen, "take", recorded))
    cookie = page.cookie(subject="somebody")
    with (
        httpx.Client(base_url=page.url, verify=False, cookies=cookie, timeout=60) as client,
        client.stream("GET", path, headers={"accept": "text/html"}) as answer,
    ):
        assert answer.status_code == 200
        assert next(answer.iter_raw())
        wait_until(lambda: users, "something was done", timeout=60)
    assert set(users) == {"somebody"}
