"""How often the provider is asked whether a code was approved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from fleet.contract.errors import TimedOut, Unreachable
from fleet.web.logins import Login, Logins
from fleet.web.provider import Authorization, Provider

AWAY, PENDING = "away", "pending"


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.meanwhile()
        await asyncio.sleep(0)


class Answers:
    """A provider that answers as a test says, then keeps people waiting."""

    def __init__(self, *answers: str | float) -> None:
        """A number is `slow_down`, by so many seconds; another word is a token."""
        self._answers = list(answers)
        self.polls = 0

    async def begin_device(self) -> Authorization:
        return Authorization("secret", "ABCD-EFGH", "https://issuer.example/device", expires_in=600, interval=1)

    async def poll_device(self, asked: Authorization, interval: float) -> tuple[str, float]:
        del asked
        self.polls += 1
        answer = self._answers.pop(0) if self._answers else PENDING
        if answer == AWAY:
            raise Unreachable("the issuer does not answer in time", next_step="try again later")
        if isinstance(answer, float):
            return "", interval + answer
        return "" if answer == PENDING else str(answer), interval


def polled(*answers: str | float) -> tuple[Login, list[float]]:
    """What came of a sign-in, and the pauses before each question."""
    clock = Clock()

    async def run() -> Login:
        logins = Logins(cast("Provider", Answers(*answers)), lambda: clock.now, clock.sleep)
        cookie, login = await logins.begin_device()
        clock.meanwhile = lambda: logins.find(cookie)  # its browser asks now and then
        assert login.task is not None
        await asyncio.wait_for(login.task, 30)
        return login

    return asyncio.run(run()), clock.slept


def test_after_an_outage_it_asks_as_often_as_before() -> None:
    """Somebody approved the code and waits: a pause that only ever grew would keep them for minutes."""
    login, pauses = polled(AWAY, AWAY, AWAY, AWAY, AWAY, AWAY, PENDING, "token")
    assert login.token == "token"
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 1]


def test_slow_down_holds_for_all_that_follows_also_after_an_outage() -> None:
    """RFC 8628, section 3.5."""
    login, pauses = polled(5.0, AWAY, PENDING, PENDING, "token")
    assert login.token == "token"
    assert pauses == [1, 6, 12, 6, 6]


def test_nobody_is_waited_for_longer_than_the_code_holds() -> None:
    login, pauses = polled(*[AWAY] * 100)
    assert isinstance(login.error, TimedOut)
    assert sum(pauses) == 600


def test_of_one_that_was_left_the_provider_is_asked_no_more_until_its_browser_asks_again() -> None:
    clock, provider = Clock(), Answers(*[PENDING] * 90, "token")

    async def run() -> None:
        logins = Logins(cast("Provider", provider), lambda: clock.now, clock.sleep)
        cookie, login = await logins.begin_device()
        assert login.task is not None
        for _ in range(500):
            await asyncio.sleep(0)
        assert provider.polls == 89, "once a second, for a minute and a half"
        assert logins.find("another") is None
        await asyncio.sleep(0)
        assert provider.polls == 89
        clock.meanwhile = lambda: logins.find(cookie)
        assert logins.find(cookie) is login
        await asyncio.wait_for(login.task, 30)
        assert login.token == "token"
        await logins.close()

    asyncio.run(run())


def test_about_many_together_the_provider_is_asked_four_times_a_second() -> None:
    slept: list[float] = []

    async def run() -> None:
        held = asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await held.wait()

        logins = Logins(cast("Provider", Answers()), sleep=sleep)
        for number in range(60):
            await logins.begin_device(network=str(number))
        for _ in range(10):
            await asyncio.sleep(0)
        held.set()
        slept.clear()
        held.clear()
        for _ in range(200):
            await asyncio.sleep(0)
        await logins.close()

    asyncio.run(run())
    assert len(slept) == 50, "of the others the sign-in gave way"
    assert set(slept) == {50 * 0.25}
