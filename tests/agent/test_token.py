"""The token's keeper: a token in time, from an issuer that is asked neither too late nor too often."""

from __future__ import annotations

import asyncio
import time

import pytest
import structlog.testing

from fleet.agent.token import TokenSource
from fleet.contract.errors import Unreachable
from fleet.identity.access_token import AccessToken


class Issuer:
    def __init__(self, lifetime: float) -> None:
        self.lifetime = lifetime
        self.asked: list[float] = []
        self.failures = 0

    async def ask(self) -> AccessToken:
        now = time.monotonic()
        self.asked.append(now)
        if len(self.asked) <= self.failures:
            raise Unreachable("the issuer is down", next_step="wait")
        return AccessToken(f"token-{len(self.asked)}", now + self.lifetime, self.lifetime)


async def nothing() -> None:
    pass


def test_there_is_no_token_before_the_first() -> None:
    with pytest.raises(Unreachable, match="no token"):
        TokenSource(Issuer(10).ask).current()


@pytest.mark.parametrize(("ahead", "said"), [(0, []), (-60, []), (61, ["61 s ahead of the issuer's"])])
def test_a_clock_that_is_wrong_is_in_the_log(ahead: float, said: list[str]) -> None:
    async def ask() -> AccessToken:
        return AccessToken("token", time.monotonic() + 10, 10, ahead)

    tokens = TokenSource(ask)
    assert tokens.clock() == ""
    with structlog.testing.capture_logs() as logs:
        asyncio.run(tokens.obtain())
    assert [line["why"] for line in logs if line["event"] == "this device's clock is wrong"] == said
    assert tokens.clock().endswith("the issuer's")


def test_a_token_that_has_expired_is_not_shown() -> None:
    tokens = TokenSource(Issuer(0).ask)
    asyncio.run(tokens.obtain())
    with pytest.raises(Unreachable, match="no token"):
        tokens.current()


def test_the_token_is_renewed_in_the_last_third_of_its_life() -> None:
    issuer = Issuer(3.0)

    async def body() -> str:
        tokens, renewed = TokenSource(issuer.ask), asyncio.Event()

        async def log_in() -> None:
            renewed.set()

        await tokens.obtain()
        keeping = asyncio.create_task(tokens.keep_renewing(log_in))
        async with asyncio.timeout(30):
            await renewed.wait()
        keeping.cancel()
        return tokens.current()

    assert asyncio.run(body()) == "token-2"
    first, second = issuer.asked
    assert 2.09 < second - first < 3.0


def test_an_issuer_that_is_down_is_asked_again() -> None:
    issuer = Issuer(10)
    issuer.failures = 1

    async def body() -> str:
        tokens = TokenSource(issuer.ask)
        await tokens.obtain()
        return tokens.current()

    assert asyncio.run(body()) == "token-2"
    first, second = issuer.asked
    assert 0.5 <= second - first < 30


def test_refusals_renew_at_a_pace_that_spares_the_issuer() -> None:
    issuer = Issuer(3600)

    async def body() -> None:
        tokens = TokenSource(issuer.ask)
        await tokens.obtain()
        keeping = asyncio.create_task(tokens.keep_renewing(nothing))
        for _ in range(100):
            tokens.refused()
            await asyncio.sleep(0)
        keeping.cancel()

    asyncio.run(body())
    assert len(issuer.asked) == 1
