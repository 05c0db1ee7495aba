"""The agent's token for NATS: issued by the issuer, renewed before it expires, sent to nothing else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from fleet.agent.advice import next_step
from fleet.contract.errors import FleetError, Unreachable
from fleet.identity.access_token import AccessToken
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

_LEFT = (0.2, 0.3)
"""The part of a token's life that is left when it is renewed: random, so devices that enrolled together renew apart."""
_CLOCKS = 60.0
"""Seconds by which the device's clock and the issuer's may differ."""


class TokenSource:
    """Holds and renews the present token. Times are monotonic, because the device's clock may jump by years."""

    def __init__(self, ask: Callable[[], Awaitable[AccessToken]]) -> None:
        self._ask = ask
        self._token: AccessToken | None = None
        self._renew_at = 0.0
        self._refused = asyncio.Event()
        self._refusals = Backoff(10, 300)
        self._last_error = ""
        self.shown_key = ""
        """The id of the machine key that obtained the token of the latest login."""

    @property
    def key(self) -> str:
        """The id of the machine key that obtained the present token; empty before the first token."""
        return self._token.key_id if self._token else ""

    def current(self) -> str:
        """The token for a login now.

        Raises:
            Unreachable: there is no valid token; the agent is asking the issuer for a new one.
        """
        if self._token is None or time.monotonic() >= self._token.expires_at:
            raise Unreachable("no token that is still valid", next_step="the agent goes on asking the issuer for one")
        self.shown_key = self._token.key_id
        return self._token.text

    def clock(self) -> str:
        """The difference between this device's clock and the issuer's, from the latest token; empty before one."""
        if self._token is None:
            return ""
        ahead = self._token.clock_ahead
        return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the issuer's"

    def refused(self) -> None:
        """NATS refused the token; a new one may be accepted."""
        self._refused.set()

    def accepted(self) -> None:
        """NATS accepted the token."""
        self._refusals.reset()

    async def obtain(self) -> None:
        """Obtain a new token, however long the issuer takes to give one."""
        backoff = Backoff(1, 30)
        while True:
            try:
                token = await self._ask()
            except FleetError as error:
                if error.what != self._last_error:
                    _log.error("no token from the issuer", why=error.what, next=next_step(error))
                    self._last_error = error.what
                await asyncio.sleep(backoff.next())
            else:
                break
        self._token, self._last_error = token, ""
        if abs(token.clock_ahead) > _CLOCKS:
            _log.warning("this device's clock is wrong", why=self.clock(), next="timedatectl set-ntp true")
        left = token.lifetime * random.uniform(*_LEFT)  # noqa: S311 - spreads, hides nothing
        self._renew_at = token.expires_at - left
        self._refused.clear()
        _log.info("token obtained", lifetime=round(token.lifetime))

    async def keep_renewing(self, renewed: Callable[[], Awaitable[None]]) -> None:
        """Renew the token before it expires, or after NATS refused it; `renewed` logs in again with the new one."""
        while True:
            try:
                async with asyncio.timeout(max(0.0, self._renew_at - time.monotonic())):
                    await self._refused.wait()
                await asyncio.sleep(self._refusals.next())
            except TimeoutError:
                pass
            await self.obtain()
            await renewed()
