"""Following Kubernetes' objects: from a complete list on, and from where a watch ended when the next begins.

The rules of the pauses are client-go's (`tools/cache/reflector.go`): whatever ended a watch, the next one comes after a
pause that doubles and differs by chance, and only a watch that lasted makes the pause short again. A list of all costs
the server far more than a watch, so the first list after `410 Gone` is free, and those that follow wait for longer.
"""

from __future__ import annotations

import time
from asyncio import sleep
from collections.abc import Callable
from typing import Protocol

from fleet.contract.errors import FleetError
from fleet.contract.objects import Kind
from fleet.kube.errors import ServerError, VersionExpiredError
from fleet.kube.paths import KINDS
from fleet.kube.reading import KubeReader
from fleet.process import backoff

_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_BEFORE_LIST = 0.1, 3.0, 30.0
"""Seconds between two attempts in a row."""
_LASTED, _BEGAN = 10.0, 1.0
"""Seconds after which a watch counts as one that works, and as one that goes on from its version."""
_FEW = 4
"""Attempts, after which a pause is still less than a second."""


class Objects(Protocol):
    """What is known of the objects."""

    async def list(self, kind: Kind) -> bool:
        """Read all of a kind; says whether that was news. Raises FleetError."""
        ...

    def listed(self, kind: Kind) -> str:
        """The resource version of the last complete list; empty when there was none yet."""
        ...

    def take(self, kind: Kind, data: bytes, deleted: bool) -> bool:
        """An object as a watch tells it, as JSON; says whether that was news."""
        ...


class Standing(Protocol):
    """Gets reports of whether the API server answers."""

    def wrong(self, subject: str, why: str) -> None:
        """Something is wrong with `subject`."""
        ...

    def settled(self, subject: str) -> None:
        """`subject` is in order."""
        ...


class Watch:
    """Follows one kind, for as long as it runs."""

    def __init__(
        self, api: KubeReader, kind: Kind, objects: Objects, standing: Standing, wake: Callable[[], None]
    ) -> None:
        """Begin where the last complete list ended, or with one. `wake` is called at news."""
        self._api = api
        self._kind: Kind = kind
        self._objects = objects
        self._standing = standing
        self._wake = wake
        self._subject = f"watch {KINDS[kind][1]}"
        self._version = objects.listed(kind)
        self._attempts = 0
        self._expired = 0
        """Versions in a row that were too old for a watch, though they came from a list."""
        self._followed = False
        """Whether a watch has gone on from the version of the last list."""
        self._lasted = False

    async def run(self) -> None:
        """Work until cancelled. A failure is reported to `standing`, and the work is tried again."""
        while True:
            self._lasted = expired = failed = False
            asked_for = 0.0
            try:
                if not self._version:
                    await self._list()
                await self._follow()
            except VersionExpiredError:
                self._version, expired = "", True
            except FleetError as error:
                self._standing.wrong(self._subject, error.what)
                failed = True
                asked_for = error.pause if isinstance(error, ServerError) else 0.0
            if self._lasted:
                self._attempts, self._followed = 0, True
            if failed or not self._lasted:
                self._attempts += 1
            await sleep(max(asked_for, self._pause(expired=expired)))

    def _pause(self, *, expired: bool) -> float:
        """Seconds until the next attempt. A server that is started anew forgets our version: that is one list."""
        if not expired:
            return pause(self._attempts, expired=False)
        if self._followed:
            # Nobody is asked without a pause, even where each watch tells one thing and then expires.
            self._followed, self._expired = False, 0
            return pause(min(self._attempts, _FEW), expired=False)
        self._expired += 1
        return pause(self._expired, expired=True)

    async def _list(self) -> None:
        news = await self._objects.list(self._kind)
        self._version = self._objects.listed(self._kind)
        if news:
            self._wake()

    async def _follow(self) -> None:
        async with self._api.watch(self._kind, self._version) as events:
            began = time.monotonic()
            self._standing.settled(self._subject)
            try:
                async for event in events:
                    deleted = event.type == "DELETED"
                    if event.type != "BOOKMARK" and self._objects.take(self._kind, event.object, deleted):
                        self._wake()
                    self._version = event.version or self._version
                    self._followed = True
            finally:
                lasted = time.monotonic() - began
                self._lasted = lasted >= _LASTED
                self._followed |= lasted >= _BEGAN


def pause(attempts: int, *, expired: bool) -> float:
    """Seconds until the next attempt, after so many in a row of which none lasted.

    Args:
        attempts: How many.
        expired: Whether the last one ended because its version was too old, so that a list comes next.
    """
    waits = attempts - 1 if expired else attempts
    if waits <= 0:
        return 0.0
    return backoff.pause(_FIRST_PAUSE, _LONGEST_BEFORE_LIST if expired else _LONGEST_PAUSE, waits - 1)
