"""How a device fetches images: a few at once, none for ever, and with a word of how far it is."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from fleet.agent.answers import Progress, PullFailed
from fleet.agent.engine import Engine
from fleet.contract.image import registry_of
from fleet.contract.logins import login_ends
from fleet.contract.sealed import RegistryLogin
from fleet.contract.wire import Reason

AT_ONCE = 3
"""Images that a device fetches at the same time."""
OF_ONE_REGISTRY = 2
"""And of one registry: one that hangs leaves room for the others."""
WITHIN = 6 * 3600.0
"""Seconds for one try: 2 GB at 100 KB/s. The engine keeps the layers that came, and no part of one."""
_MIB = 2**20
_STEPS = 10
"""A pull says how far it is after each tenth: whatever a device reports is written to its status."""

Say = Callable[[str], None]
"""Takes a sentence about a pull that goes on."""


class Fetched:
    """How much of an image is here, from the engine's lines; a layer that waits for its turn has no size yet."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self._shown = 0

    def add(self, line: Progress) -> str:
        """Take a line; returns a sentence when it is time for one, else an empty text."""
        current, total = line.detail.current, line.detail.total
        if line.status == "Downloading" and total > 0:
            self._layers[line.id] = (min(current, total), total)
        elif line.status == "Download complete" and line.id in self._layers:
            total = self._layers[line.id][1]
            self._layers[line.id] = (total, total)
        done = sum(received for received, _ in self._layers.values())
        size = sum(one for _, one in self._layers.values())
        if done == self._shown or (done - self._shown) * _STEPS < size:
            return ""
        self._shown = done
        return f"fetched {done / _MIB:.1f} of {size / _MIB:.1f} MiB"


class Pulls:
    """The pulls of one device."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._all = asyncio.Semaphore(AT_ONCE)
        self._by_registry: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(OF_ONE_REGISTRY))

    async def pull(self, image: str, platform: str, login: RegistryLogin | None, say: Say) -> None:
        """Fetch an image, when it is its turn.

        Raises:
            PullFailed: the registry does not give it, or not in time.
            EngineDown: the engine does not answer.
        """
        async with self._turn(image, say):
            fetched = Fetched()

            def tell(line: Progress) -> None:
                if progress := fetched.add(line):
                    say(progress)

            say("")
            try:
                async with asyncio.timeout(WITHIN):
                    await self._engine.pull(image, platform, login, tell)
            except TimeoutError:
                raise PullFailed(image, f"timeout: it is not here after {WITHIN:g} s") from None

    @asynccontextmanager
    async def _turn(self, image: str, say: Say) -> AsyncGenerator[None]:
        of_registry = self._by_registry[registry_of(image)]
        if of_registry.locked() or self._all.locked():
            say("waits for its turn: other images are fetched")
        # The registry's lock first: a pull that waits for it holds up no other registry.
        async with of_registry, self._all:
            yield


def asked_with(login: RegistryLogin | None, reason: Reason) -> str:
    """The login that a registry refused; empty if it refused none."""
    if reason is not Reason.REGISTRY_REFUSED:
        return ""
    if login is None:
        return "; it was asked without a login: the deployment has no imagePullSecret"
    ends = login_ends(login)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ends or 0))
    ended = f", which has ended on {when}" if ends and ends < time.time() else ""
    return f"; it was asked with the login of the Secret {login.secret} for {login.server}{ended}"
