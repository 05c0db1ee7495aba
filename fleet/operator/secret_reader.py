"""Reads the Secrets that deployments name, those and no others, again and again: the operator may not watch them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from fleet.contract.errors import FleetError, NotFound, NotPermitted
from fleet.operator.known_secrets import KnownSecrets
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.secrets import OPENBAO_AWAY, SecretProblem, SecretSeen

EVERY = 5.0
"""Seconds between two looks at the same Secrets."""
_LONGEST = 60.0
"""Seconds between two looks at so many that to read them takes long."""
_SHARE = 10
"""To look at all of them takes at most one part in so many of the time."""
_PATIENCE = 1.0
"""Seconds for which a decision waits for Secrets that are being read."""
_SUBJECT, _OPENBAO = "get secrets", "get secrets in OpenBao"


class SecretApi(Protocol):
    """Where Secrets are read."""

    async def secret(self, name: str) -> SecretSeen | SecretProblem:
        """A Secret of the namespace, or why what it stands for cannot be had. Raises FleetError."""
        ...


class SecretReader:
    """Keeps what is known of Secrets as it is in Kubernetes."""

    def __init__(self, api: SecretApi, known: KnownSecrets, readiness: Readiness, wake: Callable[[], None]) -> None:
        """Read nothing yet. `wake` is called at news."""
        self._api = api
        self._known = known
        self._readiness = readiness
        self._wake = wake
        self._asked = asyncio.Event()
        self._settled = asyncio.Event()
        self._waited_for: set[int] = set()
        self._away: dict[str, str] = {}
        """Why OpenBao did not say what a Secret stands for, by the Secret's name."""

    def look(self, deployment: str) -> None:
        """A deployment changed: it may name another Secret, or one that is there by now, or was corrected."""
        self._known.doubt(deployment)
        if self._known.lacks(deployment):
            self._asked.set()

    async def run(self) -> None:
        """Work until cancelled."""
        clock = asyncio.get_running_loop().time
        due = clock() + EVERY
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._asked.wait()
            # However often deployments change, all Secrets are looked at when that is due.
            if (began := clock()) < due:
                await self._read(())
                continue
            await self.read_all()
            due = clock() + min(max(EVERY, _SHARE * (clock() - began)), _LONGEST)

    async def read_all(self) -> None:
        """Read every Secret that a deployment names; first as `read_missing`."""
        if self._known.missing():
            self._asked.set()
        await self._read(self._known.wanted())

    async def read_missing(self) -> None:
        """Read those of which nothing is known, and those of deployments that have changed since."""
        self._asked.set()
        await self._read(())

    async def settle(self) -> None:
        """Wait until the Secrets of changed deployments were read, but not long, and only once for each change."""
        waits_for = set(self._known.doubts.values())
        if waits_for <= self._waited_for:
            return
        self._waited_for = waits_for
        try:
            async with asyncio.timeout(_PATIENCE):
                while waits_for & set(self._known.doubts.values()):
                    self._settled.clear()
                    self._asked.set()
                    await self._settled.wait()
        except TimeoutError:
            # Decided without them: those deployments wait, and no other does.
            return

    async def _read(self, names: Iterable[str]) -> None:
        """Read these, and before each of them what was asked for meanwhile.

        A Secret that cannot be read now keeps its last known value.
        """
        self._known.keep_wanted()
        rest, read, wrong = deque(sorted(names)), 0, ""
        while rest or self._asked.is_set():
            if not self._asked.is_set():
                one = [rest.popleft()]
            else:
                self._asked.clear()
                one = sorted(self._known.missing())
            read += len(one)
            wrong = await self._look_at(one) or wrong
        wanted = self._known.wanted()
        if wrong:
            self._readiness.wrong(_SUBJECT, wrong)
        elif read or not wanted:
            self._readiness.settled(_SUBJECT)
        self._away = {name: why for name, why in self._away.items() if name in wanted}
        if self._away:
            self._readiness.remark(_OPENBAO, self._away[min(self._away)])
        else:
            self._readiness.settled(_OPENBAO)

    async def _look_at(self, names: Iterable[str]) -> str:
        """Read these; returns what was wrong, or nothing."""
        doubts, answered, wrong, news = dict(self._known.doubts), set[str](), "", False
        for name in names:
            try:
                found = await self._one(name)
            except NotPermitted as error:
                wrong = error.what
                found = SecretProblem("SecretForbidden", f"the operator may not read the Secret {name}: {error.what}")
            except FleetError as error:
                wrong = error.what
                continue
            if self._remains(name, found):
                continue
            answered.add(name)
            news |= self._known.put(name, found)
        if self._known.settle(doubts, answered):
            self._settled.set()
            news = True
        if news:
            self._wake()
        return wrong

    def _remains(self, name: str, found: SecretSeen | SecretProblem) -> bool:
        """Note whether OpenBao is away. If it was not before, what it said goes on to count."""
        if not isinstance(found, SecretProblem) or found.reason != OPENBAO_AWAY:
            self._away.pop(name, None)
            return False
        self._away[name] = found.message
        return isinstance(self._known.found.get(name), SecretSeen)

    async def _one(self, name: str) -> SecretSeen | SecretProblem:
        try:
            return await self._api.secret(name)
        except NotFound:
            return SecretProblem("SecretMissing", f"there is no Secret {name} in the namespace of the deployment")
