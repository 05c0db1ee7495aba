"""Reads the Secrets that deployments name, those and no others, again and again: the operator may not watch them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fleet.contract.errors import FleetError, NotFound, NotPermitted
from fleet.operator.known_secrets import KnownSecrets
from fleet.operator.kube import KubeApi
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.secrets import SecretProblem, SecretSeen

EVERY = 5.0
"""Seconds between two looks at the same Secrets."""
_SUBJECT = "get secrets"


class SecretReader:
    """Keeps what is known of Secrets as it is in Kubernetes."""

    def __init__(self, api: KubeApi, known: KnownSecrets, readiness: Readiness, wake: Callable[[], None]) -> None:
        """Read nothing yet. `wake` is called at news."""
        self._api = api
        self._known = known
        self._readiness = readiness
        self._wake = wake
        self._asked = asyncio.Event()

    def look(self, deployment: str) -> None:
        """A deployment changed: it may name another Secret, or one that is there by now."""
        self._known.doubt(deployment)
        if self._known.missing():
            self._asked.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                async with asyncio.timeout(EVERY):
                    await self._asked.wait()
            except TimeoutError:
                await self._read(self._known.wanted())
            else:
                self._asked.clear()
                await self.read_missing()

    async def read_missing(self) -> None:
        """Read those of which nothing is known."""
        await self._read(self._known.missing())

    async def _read(self, names: Iterable[str]) -> None:
        """Read these. A Secret that cannot be read now keeps its last known value."""
        self._known.keep_wanted()
        wrong = ""
        for name in sorted(names):
            try:
                found = await self._one(name)
            except NotPermitted as error:
                wrong = error.what
                found = SecretProblem("SecretForbidden", f"the operator may not read the Secret {name}: {error.what}")
            except FleetError as error:
                wrong = error.what
                continue
            if self._known.put(name, found):
                self._wake()
        if wrong:
            self._readiness.wrong(_SUBJECT, wrong)
        elif names or not self._known.wanted():
            self._readiness.settled(_SUBJECT)

    async def _one(self, name: str) -> SecretSeen | SecretProblem:
        try:
            return await self._api.secret(name)
        except NotFound:
            return SecretProblem("SecretMissing", f"there is no Secret {name} in the namespace of the deployment")
