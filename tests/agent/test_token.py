"""The token's keeper: a token in time, from an issuer that is asked neither too late nor too often."""

from __future__ import annotations

import asyncio
import time

import pytest

from fleet.agent.grant import Token
from fleet.agent.token import TokenKeeper
from fleet.contract.errors import Unreachable


class Issuer:
    def __init__(self, lifetime: float) -> None:
        self.lifetime = lifetime
        self.asked: list[float] = []
        self.failures = 0

    async def ask(self) -> Token:
        now = time.monotonic()
        self.asked.append(now)
        if len(self.asked) <= self.failures:
            raise Unreachable("the issuer is down", next_step="wait")
        return Token(f"token-{len(self.asked)}", now + self.lifetime, self.lifetime)


async def nothing() -> None:
    pass


def test_there_is_no_token_before_one_was_had() -> None:
    with pytest.raises(Unreachable, match="no token"):
        TokenKeeper(Issuer(10).ask).current()


def test_a_token_that_has_expired_is_not_shown() -> None:
    keeper = TokenKeeper(Issuer(0).ask)
    asyncio.run(keeper.obtain())
    with pytest.raises(Unreachable, match="no token"):
        keeper.current()


def test_the_token_is_renewed_in_the_last_third_of_its_life() -> None:
    issuer = Issuer(1.0)

    async def body() -> str:
        keeper, renewed = TokenKeeper(issuer.ask), asyncio.Event()

        async def log_in() -> None:
            renewed.set()

        await keeper.obtain()
        keeping = asyncio.create_task(keeper.keep(log_in))
        async with asyncio.timeout(5):
            await renewed.wait()
        keeping.cancel()
        return keeper.current()

    assert asyncio.run(body()) == "token-2"
    first, second = issuer.asked
    assert 0.69 < second - first < 1.0


def test_an_issuer_that_is_down_is_asked_again() -> None:
    issuer = Issuer(10)
    issuer.failures = 1

    async def body() -> str:
        keeper = TokenKeeper(issuer.ask)
        await keeper.obtain()
        return keeper.current()

    assert asyncio.run(body()) == "token-2"
    first, second = issuer.asked
    assert 0.5 <= second - first < 3


def test_doubts_are_answered_at_a_pace_that_spares_the_issuer() -> None:
    issuer = Issuer(3600)

    async def body() -> None:
        keeper = TokenKeeper(issuer.ask)
        await keeper.obtain()
        keeping = asyncio.create_task(keeper.keep(nothing))
        for _ in range(100):
            keeper.doubt()
            await asyncio.sleep(0)
        keeping.cancel()

    asyncio.run(body())
    assert len(issuer.asked) == 1
