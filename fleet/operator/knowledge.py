"""Keeping the store complete: everything is read at the start, after every outage, and now and then in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from fleet.contract.buckets import DESIRED_STATE, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE, manifest_subject
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.objects import DEPLOYMENTS, DEVICES, Device, FleetDeployment
from fleet.operator.catalogue import read_catalogue
from fleet.operator.feeds import app_feeds, registry_feed
from fleet.operator.kube import KubeApi
from fleet.operator.links import Links
from fleet.operator.metrics import Metrics
from fleet.operator.objects import K, Shelf, parse, version
from fleet.operator.reader import Direct
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Kind
from fleet.operator.revocations import Revocations
from fleet.operator.store import Store
from fleet.operator.strays import Strays

_STORED = 0.1
"""Seconds after which a stream has what was published to it."""
_HOMELESS = "there is no Device of this name"


class _Meta(msgspec.Struct, frozen=True):
    name: str = "?"


class _Anything(msgspec.Struct):
    metadata: _Meta = _Meta()


class Knowledge:
    """What fills the store."""

    def __init__(
        self,
        store: Store,
        strays: Strays,
        api: KubeApi,
        links: Links,
        readiness: Readiness,
        metrics: Metrics,
        revocations: Revocations,
    ) -> None:
        """Nothing is read yet. `revocations` hears of every device at once."""
        self._revocations = revocations
        self.waits_for = ""
        self._store = store
        self._strays = strays
        self._api = api
        self._links = links
        self._readiness = readiness
        self._feeds = app_feeds(store, strays, metrics)
        self._control = Direct(links.control)
        self._registry = registry_feed(store, strays)
        self.complete = asyncio.Event()
        """Set once everything was read: before, nothing may be concluded from absence."""

    async def follow(self, news: Callable[[], None], read_again: Callable[[], None]) -> None:
        """Hear of every change in NATS from now on; `read_again` is called for one that must be read to be known.

        Raises:
            FleetError: NATS did not answer.
        """
        for feed in self._feeds:
            await feed.follow(self._links.devices, news)
        await self._registry.follow(self._control, news)
        loop = asyncio.get_running_loop()
        # It is heard just before the stream stores it.
        await self._links.app.hear(manifest_subject(">"), lambda: loop.call_later(_STORED, read_again))

    async def read(self) -> bool:
        """Read everything; says whether that was news.

        Raises:
            FleetError: NATS or the API server did not answer, or refused. Then nothing may be concluded from absence.
        """
        self.waits_for = "the buckets to be there"
        await self._links.ensure_buckets()
        # What devices write comes last: a revocation waits for none of it.
        self.waits_for = "the registry"
        news = [await self._registry.read(self._control)]
        self.waits_for = "the API server's lists"
        news.append(await self._list("Device", DEVICES, Device, self._store.devices))
        self._revocations.look_at_all()
        news.append(await self._list("FleetDeployment", DEPLOYMENTS, FleetDeployment, self._store.deployments))
        for feed in self._feeds:
            self.waits_for = f"the keys of {feed.bucket.name}"
            news.append(await feed.read(self._links.devices))
        self.waits_for = "the published agents"
        news.append(await read_catalogue(self._links.app, self._store, self._strays))
        self._tell_homeless()
        self.complete.set()
        return any(news)

    def take(self, kind: Kind, data: bytes, deleted: bool) -> bool:
        """An object as a watch tells it, as JSON; says whether it was news."""
        if kind == "Device":
            return self._take(kind, data, deleted, Device, self._store.devices)
        return self._take(kind, data, deleted, FleetDeployment, self._store.deployments)

    def troubled(self, kind: str, name: str, error: Exception) -> None:
        """An error that nobody foresaw ended the handling of one object: it is counted, and told once by name."""
        self._strays.note(f"reconcile of {kind}", name, f"not foreseen: {error!r}")

    async def _list(self, kind: Kind, plural: str, model: type[K], shelf: Shelf[K]) -> bool:
        right = f"list {plural}"
        try:
            items, at = await self._api.list(kind)
        except FleetError as error:
            self._readiness.wrong(right, error.what)
            raise
        self._readiness.settled(right)
        self._store.unread[kind].clear()
        parsed = [self._parsed(kind, item, model) for item in items]
        return shelf.replace([item for item in parsed if item is not None], at)

    def _take(self, kind: Kind, data: bytes, deleted: bool, model: type[K], shelf: Shelf[K]) -> bool:
        item = self._parsed(kind, data, model)
        if item is None:
            if deleted:
                self._store.unread[kind].discard(_name(data))
            return False
        if deleted:
            return shelf.remove(item.metadata.name, version(item))
        news = shelf.put(item)
        if kind == "Device":
            self._revocations.look(item.metadata.name)
        return news

    def _parsed(self, kind: Kind, data: bytes, model: type[K]) -> K | None:
        try:
            item = parse(data, model)
        except InvalidInput as error:
            self._strays.note(kind, _name(data), error.what)
            self._store.unread[kind].add(_name(data))
            return None
        self._strays.forget(kind, item.metadata.name)
        self._store.unread[kind].discard(item.metadata.name)
        return item

    def _tell_homeless(self) -> None:
        """What belongs to no device is left alone: see `reconcile`."""
        store = self._store
        states = [f"{device}.{deployment}" for device, found in store.states.items() for deployment in found]
        entries = [f"{device}.{deployment}" for device, found in store.desired.items() for deployment in found]
        for bucket, keys in (
            (DESIRED_STATE, [*store.indexes, *entries]),
            (DEVICE_STATE, states),
            (DEVICE_INFO, store.infos),
            (DEVICE_HEARTBEAT, store.heard),
        ):
            homeless = [key for key in keys if key.partition(".")[0] not in store.devices.items]
            for key in homeless:
                self._strays.note(f"{bucket.name} of no device", key, _HOMELESS)
            self._strays.keep(f"{bucket.name} of no device", homeless)


def _name(data: bytes) -> str:
    return msgspec.json.decode(data, type=_Anything).metadata.name
