"""Reads the Secrets that deployments name, those and no others, again and again: the operator may not watch them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Set
from typing import Protocol

from fleet.contract.errors import FleetError, NotFound, NotPermitted
from fleet.contract.sealed import OPENBAO_TYPE
from fleet.operator.entry_reader import Entries, EntryReader
from fleet.operator.known_secrets import KnownSecrets
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.secrets import SecretProblem, SecretSeen

EVERY = 5.0
"""Seconds between two looks at the same Secrets."""
_LONGEST = 60.0
"""Seconds between two looks at so many that to read them takes long."""
_SHARE = 10
"""To look at all of them takes at most one part in so many of the time."""
_PATIENCE = 1.0
"""Seconds for which a decision waits for Secrets that are being read."""
_FIRST_PATIENCE = 3.0
"""Seconds for which an operator that has just started waits for what is in OpenBao."""
_SUBJECT = "get secrets"


class SecretApi(Entries, Protocol):
    """Where Secrets are read."""

    async def secret(self, name: str) -> SecretSeen:
        """A Secret of the namespace. Raises FleetError."""
        ...


class SecretReader:
    """Keeps what is known of Secrets as it is in Kubernetes."""

    def __init__(
        self,
        api: SecretApi,
        known: KnownSecrets,
        readiness: Readiness,
        wake: Callable[[], None],
        token_ends: Callable[[float | None], None],
    ) -> None:
        """Read nothing yet. `wake` is called at news; `token_ends` as that of `EntryReader`."""
        self._api = api
        self._known = known
        self._readiness = readiness
        self._wake = wake
        self._asked = asyncio.Event()
        self._settled = asyncio.Event()
        self._waited_for: set[int] = set()
        self._entries = EntryReader(api, self._entry_read, readiness, token_ends)

    def look(self, deployment: str) -> None:
        """A deployment changed: it may name another Secret, or one that is there by now, or was corrected."""
        self._known.doubt(deployment)
        if self._known.lacks(deployment):
            self._asked.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._entries.run())
            tasks.create_task(self._run())

    async def _run(self) -> None:
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
        """Read every Secret that a deployment names; first as `read_missing`. Entries are read beside it."""
        if self._known.missing():
            self._asked.set()
        await self._read(self._known.wanted())

    async def read_missing(self) -> None:
        """Read those of which nothing is known, and those of deployments that have changed since."""
        self._asked.set()
        await self._read(())
        await self.entries_read(_FIRST_PATIENCE)

    async def entries_read(self, seconds: float) -> None:
        """Wait until what Secrets stand for was read in OpenBao, but not longer."""
        await self._entries.idle(seconds)

    async def settle(self) -> None:
        """Wait until the Secrets of changed deployments were read, but not long, and only once for each change."""
        waits_for = self._waiting()
        if waits_for <= self._waited_for:
            return
        self._waited_for = waits_for
        try:
            async with asyncio.timeout(_PATIENCE):
                while waits_for & self._waiting():
                    self._settled.clear()
                    self._asked.set()
                    await self._settled.wait()
        except TimeoutError:
            # Decided without them: those deployments wait, and no other does.
            return

    def _waiting(self) -> set[int]:
        """The doubts that an answer will end soon: none comes from an OpenBao that is away."""
        away = {*self._entries.away, *self._entries.pending} if self._entries.away else set[str]()
        return {doubt.mark for doubt in self._known.doubts.values() if not doubt.unread <= away}

    async def _read(self, names: Iterable[str]) -> None:
        """Read these, and before each of them what was asked for meanwhile.

        A Secret that cannot be read now keeps its last known value.
        """
        self._known.keep_wanted()
        rest, read, wrong = deque(sorted(names)), 0, ""
        while rest or self._asked.is_set():
            if not (urgent := self._asked.is_set()):
                one = [rest.popleft()]
            else:
                self._asked.clear()
                one = sorted(self._known.missing())
            read += len(one)
            wrong = await self._look_at(one, urgent=urgent) or wrong
        wanted = self._known.wanted()
        if wrong:
            self._readiness.wrong(_SUBJECT, wrong)
        elif read or not wanted:
            self._readiness.settled(_SUBJECT)
        self._entries.keep(wanted)

    async def _look_at(self, names: Iterable[str], *, urgent: bool) -> str:
        """Read these; returns what was wrong, or nothing."""
        mark, answered, wrong, news = self._known.mark(), set[str](), "", False
        for name in names:
            try:
                secret = await self._one(name)
            except NotPermitted as error:
                wrong = error.what
                secret = SecretProblem("SecretForbidden", f"the operator may not read the Secret {name}: {error.what}")
            except FleetError as error:
                wrong = error.what
                continue
            if isinstance(secret, SecretSeen) and secret.type == OPENBAO_TYPE and secret.sealable:
                self._entries.offer(name, secret, mark, urgent=urgent)
                continue
            self._entries.forget(name)
            answered.add(name)
            news |= self._known.put(name, secret)
        self._settle(answered, mark, news=news)
        return wrong

    def _entry_read(self, name: str, secret: SecretSeen | SecretProblem, mark: int) -> None:
        """OpenBao answered, or is away. If it was not before, what it said goes on to count."""
        if name not in self._entries.away or not isinstance(self._known.found.get(name), SecretSeen):
            self._settle({name}, mark, news=self._known.put(name, secret))
        else:
            self._settled.set()

    def _settle(self, answered: Set[str], mark: int, *, news: bool) -> None:
        if self._known.settle(answered, mark):
            self._settled.set()
            news = True
        if news:
            self._wake()

    async def _one(self, name: str) -> SecretSeen | SecretProblem:
        try:
            return await self._api.secret(name)
        except NotFound:
            return SecretProblem("SecretMissing", f"there is no Secret {name} in the namespace of the deployment")
