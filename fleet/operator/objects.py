"""A cache of Kubernetes objects: the newest of each, in whatever order lists and watches deliver them."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Generic, TypeVar

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.labels import carried_over, labels_of
from fleet.contract.names import DeviceId
from fleet.contract.objects import DeploymentStatus, Device, FleetDeployment, Metadata
from fleet.contract.parsing import NOT_JSON
from fleet.contract.wire import decode
from fleet.operator.reconcile.snapshot import Unparsed

K = TypeVar("K", Device, FleetDeployment)
C = TypeVar("C", Device, FleetDeployment, Unparsed)


_NOTHING: dict[str, dict[str, Any]] = {
    "FleetDeployment": {"workload": {"type": "container", "image": "deleted"}, "paused": True},
    "Device": {"revoked": True},
}
"""In place of the spec of an object that is being deleted, by its kind."""


class _DeletedMetadata(msgspec.Struct, rename="camel"):
    deletion_timestamp: str


class _Deleted(msgspec.Struct):
    """The field by which Kubernetes marks an object for deletion."""

    metadata: _DeletedMetadata


def parse(data: bytes, kind: type[K]) -> K:
    """An object as Kubernetes has it. A status that does not parse counts as none: the operator writes it again.

    Nor does the spec of an object that is being deleted count: one that does not parse must not keep it.

    Raises:
        InvalidInput: its name, its resource version or its spec is not of our kind.
    """
    try:
        item = decode(data, kind)
    except InvalidInput as error:
        try:
            decoded = msgspec.json.decode(data, type=dict[str, Any])
        except NOT_JSON:
            raise error from None
        item = _without_status(decoded, kind)
    # Deployments follow the same grammar.
    DeviceId(item.metadata.name)
    try:
        version(item)
    except ValueError as error:
        raise InvalidInput(
            "its resourceVersion is no number", next_step="use an API server of Kubernetes 1.35 or newer"
        ) from error
    return item


class _Head(msgspec.Struct):
    """What can be read of any object."""

    metadata: Metadata = Metadata("?")


class _WithStatus(msgspec.Struct):
    status: DeploymentStatus = DeploymentStatus()


def unparsed(data: bytes, error: InvalidInput) -> Unparsed:
    """What can be read of an object that `parse` refused with `error`."""
    try:
        status = decode(data, _WithStatus).status
    except InvalidInput:
        status = DeploymentStatus()
    return Unparsed(decode(data, _Head).metadata, error.what, status)


def _without_status(raw: dict[str, Any], kind: type[K]) -> K:
    raw["status"] = {}
    try:
        return decode(msgspec.json.encode(raw), kind)
    except InvalidInput:
        if not _is_deleted(raw):
            raise
        raw["spec"] = _NOTHING[kind.__name__]
        return decode(msgspec.json.encode(raw), kind)


def _is_deleted(raw: dict[str, Any]) -> bool:
    try:
        msgspec.convert(raw, _Deleted)
    except NOT_JSON:
        return False
    return True


class ObjectCache(Generic[C]):
    """The known objects of one kind, or those of them that do not parse."""

    def __init__(self, changed: Callable[[str], None] = lambda _: None) -> None:
        self.items: dict[str, C] = {}
        self._changed = changed
        self._gone: dict[str, int] = {}

    def put(self, item: C, *, decided: bool = False) -> bool:
        """An object as it was at its resource version; news unless an equal or newer one is known.

        Only what a reconcile looks at counts as news, and a status only when it is not what we know. `decided` is an
        object that came to be as we decided it, so that there is nothing to decide again.
        """
        name, before = item.metadata.name, self.items.get(item.metadata.name)
        if version(item) <= max(self._gone.get(name, 0), version(before) if before else 0):
            return False
        self.items[name] = item
        news = before is None or _essence(before) != _essence(item)
        if news and not decided:
            self._changed(name)
        return news

    def remove(self, name: str, at: int) -> bool:
        """An object was deleted at a resource version."""
        self._gone[name] = max(at, self._gone.get(name, 0))
        known = self.items.get(name)
        if known is None or version(known) > at:
            return False
        del self.items[name]
        self._changed(name)
        return True

    def keep(self, listed: Container[str], at: int) -> bool:
        """Remove objects that a complete list at resource version `at` does not have; newer ones stay."""
        vanished = [name for name, item in self.items.items() if name not in listed and version(item) <= at]
        for name in vanished:
            del self.items[name]
            self._changed(name)
        self._gone = {name: moment for name, moment in self._gone.items() if moment > at}
        return bool(vanished)


def version(item: Device | FleetDeployment | Unparsed) -> int:
    """The resource version: comparable since Kubernetes 1.35, and in practice since always.

    Raises:
        ValueError: it is no number; of what does not parse, that is the least.
    """
    told = item.metadata.resource_version or "0"
    return 1 if isinstance(item, Unparsed) and not told.isdecimal() else int(told)


def _essence(item: Device | FleetDeployment | Unparsed) -> object:
    meta = item.metadata
    if isinstance(item, Unparsed):
        return meta.uid, meta.generation, item.why, item.status
    labels = (labels_of(item), bool(carried_over(item))) if isinstance(item, Device) else None
    return meta.uid, meta.generation, meta.deletion_timestamp, meta.finalizers, labels, item.spec, item.status
