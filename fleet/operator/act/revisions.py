"""Keeps the revisions of deployments in Kubernetes, in a task besides the passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fleet.contract.errors import Conflict, InvalidInput, NotFound
from fleet.contract.revision import DEPLOYMENT, Revision, parse_revision, revision_of
from fleet.operator.act.attempt import attempt
from fleet.operator.kube import KubeApi
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.revisions import by_name, missing, surplus
from fleet.operator.skipped_keys import SkippedKeys
from fleet.operator.store import Store
from fleet.process.backoff import Backoff

KIND = "ControllerRevision"
_RIGHT = "keep revisions"
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 8.0
"""Seconds before what could not be done is tried again."""
_ALL = ""
"""In place of a name: look at every revision there is, as after a start."""


class Revisions:
    """The deployments to check, by name."""

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        readiness: Readiness,
        skipped: SkippedKeys,
        on_change: Callable[[str, Sequence[Revision]], None] = lambda _name, _kept: None,
    ) -> None:
        """A missing permission makes the operator unready; a refused revision counts as a skipped key.

        `on_change` hears a deployment's name and its revisions whenever they were looked at; it must not wait.
        """
        self._api = api
        self._store = store
        self._readiness = readiness
        self._skipped = skipped
        self._on_change = on_change
        self._names: dict[str, None] = {_ALL: None}
        self._news = asyncio.Event()
        self._news.set()

    def look_at(self, name: str) -> None:
        """A deployment has another generation, or is gone."""
        self._names[name] = None
        self._news.set()

    async def run(self) -> None:
        """Keep them until cancelled."""
        backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY)
        while True:
            await self._news.wait()
            self._news.clear()
            while self._names:
                name = next(iter(self._names))
                del self._names[name]
                if await self._keep(name):
                    backoff.reset()
                else:
                    self._names[name] = None
                    await asyncio.sleep(backoff.next())

    async def _keep(self, name: str) -> bool:
        """Whether it is done, or never can be."""
        return await attempt(
            self._write(name), self._readiness, _RIGHT, lambda reason: self._skipped.note(KIND, name, reason)
        )

    async def _write(self, name: str) -> None:
        await (self._all() if name == _ALL else self._one(name, await self._known(name)))
        self._skipped.forget(KIND, name)

    async def _all(self) -> None:
        known = by_name(await self._known())
        for name in {*known, *self._store.deployments.items}:
            await self._one(name, known.get(name, []))

    async def _one(self, name: str, known: list[Revision]) -> None:
        deployment = self._store.deployments.items.get(name)
        if deployment is not None and missing(deployment, known):
            created = await self._created(revision_of(deployment))
            known = [*known, *created]
        gone = surplus(deployment, known, self._store.unparsed["FleetDeployment"].items)
        for revision in gone:
            try:
                await self._api.request("DELETE", self._api.path(KIND, revision.metadata.name))
            except NotFound:
                continue
        self._on_change(name, [revision for revision in known if revision not in gone])

    async def _created(self, wanted: dict[str, object]) -> list[Revision]:
        try:
            return [parse_revision(await self._api.request("POST", self._api.path(KIND), wanted))]
        except Conflict:  # it is there
            return []

    async def _known(self, name: str = "") -> list[Revision]:
        """The revisions of one deployment, or all; foreign objects are skipped."""
        items, _ = await self._api.list(KIND, f"{DEPLOYMENT}={name}" if name else DEPLOYMENT)
        revisions: list[Revision] = []
        for revision in items:
            try:
                revisions.append(parse_revision(revision))
            except InvalidInput as error:
                self._skipped.note(KIND, name, error.what)
        return revisions
