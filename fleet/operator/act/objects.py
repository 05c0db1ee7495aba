"""One write to Kubernetes: a finalizer, labels, orders or a status, always onto the object as it is known."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.labels import carried_over
from fleet.contract.objects import DEPLOYMENTS, DEVICES, Device, DeviceStatus, FleetDeployment
from fleet.contract.wire import DeviceInfo, encode
from fleet.operator.act.events import Events
from fleet.operator.act.pace import Key, Urgency, status_essence, urgency
from fleet.operator.act.queue import ObjectAction, PendingWrite
from fleet.operator.kube import Json, KubeApi, Meta
from fleet.operator.objects import parse, unparsed
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    CarryLabels,
    ClearVolumeOrders,
    Kind,
    Note,
    PatchDeploymentStatus,
    PatchDeviceStatus,
    RemoveFinalizer,
)
from fleet.operator.reconcile.snapshot import Unparsed
from fleet.operator.reconcile.volumes import over
from fleet.operator.store import Store

_PLURAL: dict[Kind, str] = {"Device": DEVICES, "FleetDeployment": DEPLOYMENTS}
_LARGEST = 32 * 1024
"""Bytes of a status that are sent: a good one has some 2 KB, and etcd keeps every version of it for a while."""


class InfoRefused(InvalidInput):
    """A status with information from the device was refused; without that information it may be accepted."""

    def __init__(self, what: str, info: DeviceInfo) -> None:
        """`info` is what the device said."""
        super().__init__(what, next_step="write the status without it")
        self.info = info


class Objects:
    """The API server, and its objects in the store."""

    def __init__(self, api: KubeApi, store: Store, events: Events, look_at: Callable[[str], None]) -> None:
        """A written object goes into the store at once.

        `look_at` is called with the name of a deployment that has another generation, or goes.
        """
        self._api = api
        self._store = store
        self._events = events
        self._look_at = look_at
        self._sent: dict[Key, tuple[str, tuple[Note, ...]]] = {}

    def key(self, action: ObjectAction) -> Key:
        """The object that an action is about."""
        match action:
            case AddFinalizer(kind, name) | RemoveFinalizer(kind, name):
                return kind, name
            case PatchDeviceStatus(name) | CarryLabels(name) | ClearVolumeOrders(name):
                return "Device", name
            case PatchDeploymentStatus(name):
                return "FleetDeployment", name

    def pending_write(self, action: ObjectAction) -> PendingWrite | None:
        """The action as a write about the object as it is known; None when it is not known."""
        known = self._known(self.key(action))
        if known is None:
            return None
        patch = isinstance(action, PatchDeviceStatus | PatchDeploymentStatus)
        how = urgency(known.status, action.status) if patch else Urgency.ADMIN
        meta = known.metadata
        return PendingWrite(action, how, meta.uid, meta.generation, meta.resource_version)

    def permission(self, action: ObjectAction) -> str:
        """What the operator must be permitted to do for it."""
        status = "/status" if isinstance(action, PatchDeviceStatus | PatchDeploymentStatus) else ""
        return f"patch {_PLURAL[self.key(action)[0]]}{status}"

    async def write(self, write: PendingWrite) -> int:
        """Carry it out, if it is still of use; returns the bytes that the object has then, 0 when nothing was written.

        Raises:
            InfoRefused: what the device said of itself is in the way.
            FleetError: as `KubeApi.patch_status`.
        """
        action, key = write.action, self.key(write.action)
        known = self._known(key)
        if known is None or known.metadata.uid != write.uid or known.metadata.generation != write.generation:
            return 0
        self._look(known)
        meta = Meta(key[1], known.metadata.uid, known.metadata.resource_version, known.metadata.finalizers)
        match action:
            case AddFinalizer() | RemoveFinalizer():
                self._sent.pop(key, None)
                answer = await self._api.set_finalizers(key[0], meta, held=isinstance(action, AddFinalizer))
            case CarryLabels() | ClearVolumeOrders():
                change = _change(action, known)
                if not change:
                    return 0
                answer = await self._api.merge(key[0], meta, change)
            case PatchDeviceStatus(_, status, notes) | PatchDeploymentStatus(_, status, notes):
                if status_essence(status) == status_essence(known.status):
                    return 0
                answer = await self._patch(key, meta, status)
                self._send_events(key, meta, write, notes)
        self._take(key[0], answer, action)
        return len(answer)

    def _look(self, known: Device | FleetDeployment | Unparsed) -> None:
        meta = known.metadata
        if isinstance(known, FleetDeployment) and (
            meta.generation > known.status.observed_generation or meta.deletion_timestamp is not None
        ):
            self._look_at(meta.name)

    def _send_events(self, key: Key, meta: Meta, write: PendingWrite, notes: tuple[Note, ...]) -> None:
        """Send the new Events; two writes that were decided from one state both have the Events since then."""
        version, sent = self._sent.pop(key, ("", ()))
        if notes:
            self._sent[key] = write.version, notes
        for note in notes:
            if version != write.version or note not in sent:
                self._events.put(key[0], meta, note, time.time())

    def has_news(self) -> bool:
        """Whether anything must be decided again."""
        return bool(self._store.changes)

    def decide_again(self, key: Key) -> None:
        """Decide again about an object, because its last write is obsolete."""
        changes = self._store.changes
        (changes.device if key[0] == "Device" else changes.deployment)(key[1])

    async def _patch(self, key: Key, meta: Meta, status: msgspec.Struct) -> bytes:
        info = status.info if isinstance(status, DeviceStatus) else None
        size = len(encode(status))
        if info and size > _LARGEST:
            raise InfoRefused(f"the status would have {size} bytes, more than {_LARGEST}", info)
        try:
            return await self._api.patch_status(key[0], meta, status)
        except InvalidInput as error:
            if info:
                raise InfoRefused(error.what, info) from error
            raise

    def _known(self, key: Key) -> Device | FleetDeployment | Unparsed | None:
        cache = self._store.devices if key[0] == "Device" else self._store.deployments
        return cache.items.get(key[1]) or self._store.unparsed[key[0]].items.get(key[1])

    def _take(self, kind: Kind, answer: bytes, action: ObjectAction) -> None:
        """Nothing follows the write of a status, unless something else changes."""
        if kind == "Device":
            device = parse(answer, Device)
            last = isinstance(action, PatchDeviceStatus) and not (carried_over(device) or over(device))
            self._store.devices.put(device, decided=last)
        else:
            last = isinstance(action, PatchDeploymentStatus)
            try:
                self._store.deployments.put(parse(answer, FleetDeployment), decided=last)
            except InvalidInput as error:
                self._store.unparsed[kind].put(unparsed(answer, error), decided=last)


def _change(action: CarryLabels | ClearVolumeOrders, known: Device | FleetDeployment | Unparsed) -> Json:
    """The merge patch of the object as it is now; empty where there is nothing to change any more."""
    if not isinstance(known, Device):
        return {}
    if isinstance(action, ClearVolumeOrders):
        return over(known)
    labels = carried_over(known)
    return {"metadata": labels} if labels else {}
