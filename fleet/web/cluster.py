"""Devices and deployments from the API server, as they change: the same mechanism as the operator's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from fleet.contract.errors import FleetError
from fleet.contract.objects import Kind
from fleet.kube.kubeconfig import Access
from fleet.kube.reading import KubeReader
from fleet.kube.watching import Watch
from fleet.web.messages import Start
from fleet.web.source import CHECK_INTERVAL, KUBERNETES, Sources

KINDS: tuple[Kind, ...] = ("Device", "FleetDeployment")
"""What is read; nothing else is ever asked for."""
_LIFE = "signs of life"
_PATIENCE = 10.0


class ObjectSink(Protocol):
    """Who hears of objects."""

    sources: Sources

    def replace_objects(self, kind: str, items: Sequence[bytes]) -> None:
        """All objects of a kind, as JSON."""
        ...

    def apply_change(self, kind: str, data: bytes, *, deleted: bool) -> None:
        """One object that changed."""
        ...


class Cluster:
    """The API server, by get, list and watch of two kinds in one namespace."""

    def __init__(self, start: Start, token: Callable[[], str], sink: ObjectSink) -> None:
        """Nothing is contacted yet. `token` is asked whenever the server refuses the one before."""
        self._api = KubeReader(
            lambda: Access(start.api_url, ca=start.api_ca, token=token()), start.namespace, "fleet-web"
        )
        self._sink = sink
        self._versions: dict[str, str] = {}
        self._wrong: dict[str, str] = {}

    async def close(self) -> None:
        """End the connections."""
        await self._api.close()

    async def follow(self, kind: Kind) -> None:
        """Hand on every object of a kind, and every change, until cancelled."""
        # Whoever takes the objects tells the pages by himself.
        await Watch(self._api, kind, self, self, lambda: None).run()

    async def check(self) -> None:
        """Ask the server for a little now and then, until cancelled: a watch does not tell that its server hangs."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._api.request("GET", self._api.path(KINDS[0]), query={"limit": "1"})
            except TimeoutError:
                self.wrong(_LIFE, f"it takes questions, and did not answer one within {_PATIENCE:.0f} s")
            except FleetError as error:
                self.wrong(_LIFE, error.what)
            else:
                self.settled(_LIFE)

    # What is known of the objects: `watching.Objects`.

    async def list(self, kind: Kind) -> bool:
        """Read all of a kind; raises FleetError."""
        items, version = await self._api.list(kind)
        self._sink.replace_objects(kind, items)
        self._versions[kind] = str(version)
        return True

    def listed(self, kind: Kind) -> str:
        """The resource version of the last complete list; empty when there was none yet."""
        return self._versions.get(kind, "")

    def take(self, kind: Kind, data: bytes, deleted: bool) -> bool:
        """An object as a watch tells it."""
        self._sink.apply_change(kind, data, deleted=deleted)
        return True

    # As `watching.Standing`.

    def wrong(self, subject: str, why: str) -> None:
        """One of the two kinds cannot be followed, or the server gives no sign of life."""
        self._wrong[subject] = why
        self._sink.sources.mark_unavailable(KUBERNETES, why)

    def settled(self, subject: str) -> None:
        """That is over. The server counts as there when both kinds are followed, and it answers."""
        self._wrong.pop(subject, None)
        if not self._wrong and len(self._versions) == len(KINDS):
            self._sink.sources.mark_available(KUBERNETES)
