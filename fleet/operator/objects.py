"""Kubernetes objects as they are known: the newest of each, whatever the order in which lists and watches tell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.names import DeviceId
from fleet.contract.objects import Device, FleetDeployment
from fleet.contract.wire import decode

K = TypeVar("K", Device, FleetDeployment)


def parse(data: bytes, kind: type[K]) -> K:
    """An object as Kubernetes tells it. A status that does not parse counts as none: it is ours, and is written anew.

    Raises:
        InvalidInput: its name or its spec is not of our kind.
    """
    try:
        item = decode(data, kind)
    except InvalidInput:
        item = decode(msgspec.json.encode({**msgspec.json.decode(data, type=dict), "status": {}}), kind)
    # Deployments follow the same grammar.
    DeviceId(item.metadata.name)
    return item


class Shelf(Generic[K]):
    """The known objects of one kind."""

    def __init__(self) -> None:
        """Begin with none."""
        self.items: dict[str, K] = {}
        self._gone: dict[str, int] = {}

    def put(self, item: K) -> bool:
        """An object as it was at its resource version; news unless an equal or newer one is known.

        Only what a reconcile looks at counts as news, and a status only when it is not what we know.
        """
        name, before = item.metadata.name, self.items.get(item.metadata.name)
        if version(item) <= max(self._gone.get(name, 0), version(before) if before else 0):
            return False
        self.items[name] = item
        return before is None or _essence(before) != _essence(item)

    def remove(self, name: str, at: int) -> bool:
        """An object was deleted at a resource version."""
        self._gone[name] = max(at, self._gone.get(name, 0))
        known = self.items.get(name)
        if known is None or version(known) > at:
            return False
        del self.items[name]
        return True

    def replace(self, listed: Iterable[K], at: int) -> bool:
        """A complete list, as it was at a resource version; changes heard of since then stay."""
        found = {item.metadata.name: item for item in listed}
        vanished = [name for name, item in self.items.items() if name not in found and version(item) <= at]
        changed = [self.put(item) for item in found.values()]
        for name in vanished:
            del self.items[name]
        self._gone = {name: moment for name, moment in self._gone.items() if moment > at}
        return any(changed) or bool(vanished)


def version(item: Device | FleetDeployment) -> int:
    """The resource version: comparable since Kubernetes 1.35, and in practice since always."""
    return int(item.metadata.resource_version or 0)


def _essence(item: Device | FleetDeployment) -> object:
    meta = item.metadata
    return meta.uid, meta.generation, meta.deletion_timestamp, meta.finalizers, item.spec, item.status
