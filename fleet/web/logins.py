"""Sign-ins under way: each bound to the browser that began it, by a cookie; its device code stays here."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from fleet.contract.errors import FleetError, TimedOut, Unreachable
from fleet.web.destination import HOME
from fleet.web.networks import heaviest
from fleet.web.provider import Authorization, Provider

log = structlog.get_logger()

COOKIE = "__Host-fleet-login"
"""How its name begins: `fleet.web.sessions.cookie_of`."""
_BYTES = 32
_MOST = 50
"""Sign-ins under way at once."""
_LOST = 30.0
"""Seconds for which a browser that lost the answer on its way may ask again what came of its sign-in."""
_LONGEST_PAUSE = 30.0
"""Seconds between two questions whether a code was approved, while the provider does not answer."""
_APART = 0.25
"""Seconds at least between two questions about all sign-ins together: with many, each is asked about less often."""
_LEFT = 90.0
"""Seconds after which a sign-in counts as left when nobody asked what came of it. Browsers let a page that is hidden
ask once a minute."""
_CODE_LASTS = 600.0
"""Seconds for a sign-in at the provider's own page."""


class Login(msgspec.Struct):
    """One sign-in. `token` is a secret, `error` what ended it; while both are empty it is under way.

    `opened` is the session that came of it: its cookie, a secret, and its end in Unix seconds. `to` is the screen that
    was asked for, and `network` is where it was begun. `unanswered` is why the provider did not answer last.
    """

    asked: Authorization | None
    began: float
    lasts: float
    state: str = ""
    nonce: str = ""
    verifier: str = ""
    token: str = ""
    error: FleetError | None = None
    unanswered: str = ""
    opened: tuple[str, float] | None = None
    task: asyncio.Task[None] | None = None
    to: str = HOME
    network: str = ""
    seen: float = 0.0
    """When its browser asked last, as of `began`."""
    wanted: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    """Set when its browser asks."""
    opening: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    """Held while its session is opened: a browser may ask twice at once."""

    def __repr__(self) -> str:
        return "Login(...)"


class Logins:
    """All of them."""

    def __init__(
        self,
        provider: Provider,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        cookie: str = COOKIE,
    ) -> None:
        """There are none. `now` is monotonic, in seconds; `cookie` is the name of theirs."""
        self.cookie = cookie
        self._provider = provider
        self._now = now
        self._sleep = sleep
        self._under_way: dict[str, Login] = {}

    async def close(self) -> None:
        """End them all."""
        for cookie in tuple(self._under_way):
            self.forget(cookie)

    async def begin_device(self, to: str = HOME, network: str = "") -> tuple[str, Login]:
        """Ask for a code, and for its approval from then on; returns the cookie, a secret. `to` is a screen of ours.

        `network` is who asks (`fleet.web.networks`): of the one with the most sign-ins one gives way for another.

        Raises:
            FleetError: as `Provider.begin_device`.
        """
        asked = await self._provider.begin_device()
        login = Login(asked, self._now(), asked.expires_in, to=to, network=network)
        login.task = asyncio.create_task(self._poll(login, asked), name="device login")
        return self._kept(login), login

    def begin_code(self, to: str = HOME, network: str = "") -> tuple[str, Login]:
        """Prepare a sign-in at the provider's own page; as `begin_device`."""
        login = Login(
            None,
            self._now(),
            _CODE_LASTS,
            state=secrets.token_urlsafe(_BYTES),
            nonce=secrets.token_urlsafe(_BYTES),
            verifier=secrets.token_urlsafe(_BYTES),
            to=to,
            network=network,
        )
        return self._kept(login), login

    def find(self, cookie: str | None) -> Login | None:
        """The sign-in of a cookie, whose browser asks for it: while none does, the provider is not asked either."""
        found = self._under_way.get(cookie) if cookie else None
        if found is None or found.began + found.lasts + _CODE_LASTS <= self._now():
            return None
        found.seen = self._now()
        found.wanted.set()
        return found

    def remove_later(self, cookie: str | None) -> None:
        """It is done, and its browser may not have heard so."""
        asyncio.get_running_loop().call_later(_LOST, self.forget, cookie)

    def forget(self, cookie: str | None) -> None:
        """It is done, or given up."""
        login = self._under_way.pop(cookie, None) if cookie else None
        if login is not None and login.task is not None:
            login.task.cancel()

    def _kept(self, login: Login) -> str:
        self._make_room()
        cookie = secrets.token_urlsafe(_BYTES)
        login.seen = login.began
        self._under_way[cookie] = login
        return cookie

    def _make_room(self) -> None:
        for cookie, login in tuple(self._under_way.items()):
            if login.began + login.lasts <= self._now() or (login.opened and len(self._under_way) >= _MOST):
                self.forget(cookie)
        # Nobody has to sign in to begin one. Who begins many ends their own: of the network with the most the oldest
        # goes, and one that has its token only after all others.
        if len(self._under_way) >= _MOST:
            crowd, _ = heaviest(login.network for login in self._under_way.values())
            theirs = [cookie for cookie, login in self._under_way.items() if login.network in crowd]
            self.forget(min(theirs, key=lambda cookie: bool(self._under_way[cookie].token)))

    async def _poll(self, login: Login, asked: Authorization) -> None:
        interval, deadline = max(1.0, asked.interval), self._now() + asked.expires_in
        pause = interval
        while True:
            under_way = sum(one.asked is not None for one in self._under_way.values())
            pause = max(pause, under_way * _APART)
            await self._sleep(max(0.0, min(pause, deadline - self._now())))
            if self._now() - login.seen >= _LEFT:
                login.wanted.clear()
                await login.wanted.wait()
            try:
                login.token, interval = await self._provider.poll_device(asked, interval)
                login.unanswered = ""
                pause = interval
            except Unreachable as error:
                log.warning("the sign-in waits", why=error.what)
                login.unanswered = error.what
                # RFC 8628, section 3.5, asks for that. It is over with the next answer: somebody waits.
                pause = min(pause * 2, _LONGEST_PAUSE)
            except FleetError as error:
                login.error = error
            if login.token or login.error:
                return
            if self._now() >= deadline:
                login.error = TimedOut("nobody approved the code before it expired", next_step="sign in again")
                return
