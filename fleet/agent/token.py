"""The token that the agent shows to NATS: had from the issuer, renewed before it expires, told to nobody else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from fleet.agent.backoff import Backoff
from fleet.agent.grant import Token
from fleet.agent.hints import next_step
from fleet.contract.errors import FleetError, Unreachable

_log = structlog.stdlib.get_logger()

_LEFT = (0.2, 0.3)
"""The part of a token's life that is left when it is renewed, at random: enrolled together, renewed apart."""


class TokenKeeper:
    """Holds the present token. Times are monotonic, for the device's clock may jump by years."""

    def __init__(self, ask: Callable[[], Awaitable[Token]]) -> None:
        """Ask nothing yet."""
        self._ask = ask
        self._token: Token | None = None
        self._renew_at = 0.0
        self._doubted = asyncio.Event()
        self._doubts = Backoff(10, 300)
        self._last_told = ""

    def current(self) -> str:
        """The token for a login now.

        Raises:
            Unreachable: there is none that has not expired; a new one is being asked for.
        """
        if self._token is None or time.monotonic() >= self._token.expires_at:
            raise Unreachable("no token that is still valid", next_step="the agent goes on asking the issuer for one")
        return self._token.text

    def doubt(self) -> None:
        """NATS refused the token: it may be for a reason that a new one cures."""
        self._doubted.set()

    def trust(self) -> None:
        """NATS took the token."""
        self._doubts.reset()

    async def obtain(self) -> None:
        """Have a new token, however long the issuer takes to give one."""
        backoff = Backoff(1, 30)
        while True:
            try:
                token = await self._ask()
            except FleetError as error:
                if error.what != self._last_told:
                    _log.error("no token from the issuer", why=error.what, next=next_step(error))
                    self._last_told = error.what
                await asyncio.sleep(backoff.next())
            else:
                break
        self._token, self._last_told = token, ""
        left = token.lifetime * random.uniform(*_LEFT)  # noqa: S311 - spreads, hides nothing
        self._renew_at = token.expires_at - left
        self._doubted.clear()
        _log.info("token obtained", lifetime=round(token.lifetime))

    async def keep(self, renewed: Callable[[], Awaitable[None]]) -> None:
        """Renew the token before it expires, or when it is in doubt; `renewed` is to log in anew with it."""
        while True:
            try:
                async with asyncio.timeout(max(0.0, self._renew_at - time.monotonic())):
                    await self._doubted.wait()
                await asyncio.sleep(self._doubts.next())
            except TimeoutError:
                pass
            await self.obtain()
            await renewed()
