"""One write to Kubernetes: a finalizer or a status, always onto the state of the object that is known."""

from __future__ import annotations

import time

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import DEPLOYMENTS, DEVICES, Device, DeviceStatus, FleetDeployment
from fleet.contract.wire import DeviceInfo, encode
from fleet.operator.act.events import Events
from fleet.operator.act.pace import Key, Urgency, status_essence, urgency
from fleet.operator.act.queue import ObjectAction, Wish
from fleet.operator.kube import KubeApi, Meta
from fleet.operator.objects import parse
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    Kind,
    PatchDeploymentStatus,
    PatchDeviceStatus,
    RemoveFinalizer,
)
from fleet.operator.store import Store

_PLURAL: dict[Kind, str] = {"Device": DEVICES, "FleetDeployment": DEPLOYMENTS}
_LARGEST = 32 * 1024
"""Bytes of a status that are sent: a good one has some 2 KB, and etcd keeps every version of it for a while."""


class InfoRefused(InvalidInput):
    """A status was refused that tells what a device said of itself, and may be taken without it."""

    def __init__(self, what: str, info: DeviceInfo) -> None:
        """`info` is what the device said."""
        super().__init__(what, next_step="write the status without it")
        self.info = info


class Objects:
    """The API server, and what the store knows of its objects."""

    def __init__(self, api: KubeApi, store: Store, events: Events) -> None:
        """What was written goes into the store at once."""
        self._api = api
        self._store = store
        self._events = events

    def key(self, action: ObjectAction) -> Key:
        """The object that an action is about."""
        match action:
            case AddFinalizer(kind, name) | RemoveFinalizer(kind, name):
                return kind, name
            case PatchDeviceStatus(name):
                return "Device", name
            case PatchDeploymentStatus(name):
                return "FleetDeployment", name

    def wish(self, action: ObjectAction) -> Wish | None:
        """The action as a wish about the object as it is known; None when it is not known."""
        known = self._known(self.key(action))
        if known is None:
            return None
        patch = isinstance(action, PatchDeviceStatus | PatchDeploymentStatus)
        how = urgency(known.status, action.status) if patch else Urgency.ADMIN
        return Wish(action, how, known.metadata.uid, known.metadata.generation)

    def right(self, action: ObjectAction) -> str:
        """What the operator must be permitted to do for it."""
        status = "/status" if isinstance(action, PatchDeviceStatus | PatchDeploymentStatus) else ""
        return f"patch {_PLURAL[self.key(action)[0]]}{status}"

    async def write(self, wish: Wish) -> int:
        """Carry it out, if it is still of use; returns the bytes that the object has then, 0 when nothing was written.

        Raises:
            InfoRefused: what the device said of itself is in the way.
            FleetError: as `KubeApi.patch_status`.
        """
        action, key = wish.action, self.key(wish.action)
        known = self._known(key)
        if known is None or known.metadata.uid != wish.uid or known.metadata.generation != wish.generation:
            return 0
        meta = Meta(key[1], known.metadata.uid, known.metadata.resource_version, known.metadata.finalizers)
        match action:
            case AddFinalizer() | RemoveFinalizer():
                answer = await self._api.set_finalizers(key[0], meta, held=isinstance(action, AddFinalizer))
            case PatchDeviceStatus(_, status, notes) | PatchDeploymentStatus(_, status, notes):
                if status_essence(status) == status_essence(known.status):
                    return 0
                answer = await self._patch(key, meta, status)
                for note in notes:
                    self._events.put(key[0], meta, note, time.time())
        self._take(key[0], answer)
        return len(answer)

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

    def _known(self, key: Key) -> Device | FleetDeployment | None:
        shelf = self._store.devices if key[0] == "Device" else self._store.deployments
        return shelf.items.get(key[1])

    def _take(self, kind: Kind, answer: bytes) -> None:
        if kind == "Device":
            self._store.devices.put(parse(answer, Device))
        else:
            self._store.deployments.put(parse(answer, FleetDeployment))
