"""Keeping the store complete: everything is read at the start, after every outage, and now and then in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from fleet.contract.buckets import DESIRED_STATE, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE, manifest_subject
from fleet.contract.errors import FleetError, InvalidInput, why
from fleet.contract.objects import Device, FleetDeployment
from fleet.kube.paths import KINDS
from fleet.operator.act.events import Events
from fleet.operator.catalogue import read_catalogue
from fleet.operator.connections import Connections
from fleet.operator.feeds import app_feeds, registry_feed
from fleet.operator.kube import KubeApi, Meta
from fleet.operator.metrics import Metrics
from fleet.operator.objects import K, ObjectCache, parse, unparsed, version
from fleet.operator.reader import STORED, Direct
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Kind, Note
from fleet.operator.reconcile.snapshot import Unparsed
from fleet.operator.revocations import Revocations
from fleet.operator.secret_reader import SecretReader
from fleet.operator.skipped_keys import SkippedKeys
from fleet.operator.store import Store

_SOON = 0.1
"""Seconds after which a stream has what was published to it, unless its server is very busy."""
_PASSED_OVER = "it is passed over until it is corrected, and what was asked for before goes on"
_HOMELESS = "there is no Device of this name"


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = "?"
    resource_version: str = ""


class _Anything(msgspec.Struct):
    metadata: _Meta = _Meta()


class ObjectListeners(NamedTuple):
    """Callbacks that are called for an object at once.

    `revocations` for every device, `secrets` for every deployment, `events` for each that does not parse.
    """

    revocations: Revocations
    secrets: SecretReader
    events: Events


class StateReader:
    """What fills the store."""

    def __init__(
        self,
        store: Store,
        skipped: SkippedKeys,
        api: KubeApi,
        connections: Connections,
        readiness: Readiness,
        metrics: Metrics,
        beside: ObjectListeners,
    ) -> None:
        self._revocations, self._secrets, self._events = beside
        self.waits_for = ""
        self._store = store
        self._skipped = skipped
        self._api = api
        self._connections = connections
        self._readiness = readiness
        self._feeds = app_feeds(store, skipped, metrics)
        self._control = Direct(connections.control)
        self._registry = registry_feed(store, skipped)
        self._listed: dict[Kind, str] = {}
        self.complete = asyncio.Event()
        """Set once everything was read: before, nothing may be concluded from absence."""

    async def follow(self, news: Callable[[], None], agent_published: Callable[[], None]) -> None:
        """Hear of every change in NATS from now on; `agent_published` is called where agents are to be read again.

        Raises:
            FleetError: NATS did not answer.
        """
        for feed in self._feeds:
            await feed.follow(self._connections.devices, news)
        await self._registry.follow(self._control, news)
        loop = asyncio.get_running_loop()
        for delay in (_SOON, STORED):
            await self._connections.app.subscribe(
                manifest_subject(">"), partial(loop.call_later, delay, agent_published)
            )

    async def ask(self) -> None:
        """Have a sign of life from NATS.

        Raises:
            Unreachable: it gave none in time.
        """
        await self._connections.app.ask()

    async def read(self) -> bool:
        """Read everything; returns whether anything was new.

        Raises:
            FleetError: NATS or the API server did not answer, or refused. Then nothing may be concluded from absence.
        """
        self.waits_for = "the buckets to be there"
        await self._connections.ensure_buckets()
        # What devices write comes last: a revocation waits for none of it.
        self.waits_for = "the registry"
        news = [await self._registry.read(self._control)]
        self.waits_for = "the API server's lists"
        news.append(await self.list("Device"))
        self._revocations.check_all()
        news.append(await self.list("FleetDeployment"))
        self.waits_for = "the Secrets that deployments name"
        await self._secrets.read_missing()
        for feed in self._feeds:
            self.waits_for = f"the keys of {feed.bucket.name}"
            news.append(await feed.read(self._connections.devices))
        news.append(await self.read_agents())
        self._record_orphans()
        self.complete.set()
        return any(news)

    async def settle_secrets(self) -> None:
        """Wait, not long, until the Secrets of changed deployments were read."""
        self.waits_for = "the Secrets of changed deployments"
        await self._secrets.settle()

    async def read_agents(self) -> bool:
        """Read the published agents; returns whether anything was new.

        Raises:
            FleetError: NATS did not answer.
        """
        self.waits_for = "the published agents"
        return await read_catalogue(self._connections.app, self._store, self._skipped)

    async def list(self, kind: Kind) -> bool:
        """Read every object of a kind; returns whether anything was new.

        Raises:
            FleetError: the API server did not answer, or refused.
        """
        if kind == "Device":
            return await self._list(kind, Device, self._store.devices)
        return await self._list(kind, FleetDeployment, self._store.deployments)

    def listed(self, kind: Kind) -> str:
        """The resource version of the last complete list of a kind; empty when there was none."""
        return self._listed.get(kind, "")

    def take(self, kind: Kind, data: bytes, deleted: bool) -> bool:
        """Take an object from a watch, as JSON; returns whether it was new."""
        if kind == "Device":
            return self._take(kind, data, deleted, Device, self._store.devices)
        return self._take(kind, data, deleted, FleetDeployment, self._store.deployments)

    def troubled(self, kind: Kind, name: str, error: Exception) -> None:
        """An error ended the handling of one object: count it, and report it once by name."""
        self._skipped.note(f"reconcile of {kind}", name, why(error))

    async def _list(self, kind: Kind, model: type[K], cache: ObjectCache[K]) -> bool:
        right, refused = f"list {KINDS[kind][1]}", self._store.unparsed[kind]
        listed: set[str] = set()
        unread: set[str] = set()
        news = False

        def take(data: bytes) -> None:
            nonlocal news
            head = msgspec.json.decode(data, type=_Anything).metadata
            known = cache.items.get(head.name)
            if known and known.metadata.resource_version == head.resource_version:
                listed.add(known.metadata.name)
                return
            item = self._parsed(kind, data, model)
            if isinstance(item, Unparsed):
                unread.add(head.name)
                news |= refused.put(item)
            else:
                listed.add(item.metadata.name)
                news |= cache.put(item)

        try:
            at = await self._api.list_each(kind, take)
        except FleetError as error:
            self._readiness.wrong(right, error.what)
            raise
        self._readiness.settled(right)
        self._listed[kind] = str(at)
        # One that has become another is in the one cache before it leaves the other.
        gone = [cache.keep(listed, at), refused.keep(unread, at)]
        return any(gone) or news

    def _take(self, kind: Kind, data: bytes, deleted: bool, model: type[K], cache: ObjectCache[K]) -> bool:
        head = msgspec.json.decode(data, type=_Anything).metadata
        known = cache.items.get(head.name)
        if known and not deleted and known.metadata.resource_version == head.resource_version:
            return False  # what we wrote comes back
        item, refused = self._parsed(kind, data, model), self._store.unparsed[kind]
        if deleted:
            gone = [known.remove(item.metadata.name, version(item)) for known in (cache, refused)]
            return any(gone)
        if isinstance(item, Unparsed):
            news = refused.put(item)
            return cache.remove(item.metadata.name, version(item)) or news
        news = cache.put(item)
        refused.remove(item.metadata.name, version(item))
        if kind == "Device":
            self._revocations.look(item.metadata.name)
        else:
            self._secrets.look(item.metadata.name)
        return news

    def _parsed(self, kind: Kind, data: bytes, model: type[K]) -> K | Unparsed:
        try:
            item = parse(data, model)
        except InvalidInput as error:
            refused = unparsed(data, error)
            meta = refused.metadata
            if not self._skipped.knows(kind, meta.name, error.what):
                note = Note("Warning", "InvalidSpec", f"{_PASSED_OVER}: {error.what}")
                self._events.put(kind, Meta(meta.name, meta.uid, meta.resource_version), note, time.time())
            self._skipped.note(kind, meta.name, error.what)
            return refused
        self._skipped.forget(kind, item.metadata.name)
        return item

    def _record_orphans(self) -> None:
        """What belongs to no device is left alone: see `reconcile`."""
        store = self._store
        states = [f"{device}.{deployment}" for device, names in store.states.items() for deployment in names]
        entries = [f"{device}.{deployment}" for device, names in store.desired.items() for deployment in names]
        for bucket, keys in (
            (DESIRED_STATE, [*store.indexes, *entries]),
            (DEVICE_STATE, states),
            (DEVICE_INFO, store.infos),
            (DEVICE_HEARTBEAT, store.heartbeats),
        ):
            homeless = [key for key in keys if key.partition(".")[0] not in store.devices.items]
            for key in homeless:
                self._skipped.note(f"{bucket.name} of no device", key, _HOMELESS)
            self._skipped.keep(f"{bucket.name} of no device", homeless)
