"""Writing to Kubernetes: finalizers, status, events; always onto the state of the object that was looked at."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Coroutine

import msgspec

from fleet.contract.errors import Conflict, InvalidInput, NotFound, NotPermitted
from fleet.contract.objects import DEPLOYMENTS, DEVICES, Device, FleetDeployment
from fleet.operator.kube import KubeApi, Meta
from fleet.operator.objects import parse
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    Kind,
    Note,
    PatchDeploymentStatus,
    PatchDeviceStatus,
    RemoveFinalizer,
)
from fleet.operator.store import Store
from fleet.operator.strays import Strays

ObjectAction = AddFinalizer | RemoveFinalizer | PatchDeviceStatus | PatchDeploymentStatus
OBJECT_ACTIONS = (AddFinalizer, RemoveFinalizer, PatchDeviceStatus, PatchDeploymentStatus)
_UNTOLD = 100
"""Events that are kept while the right to create them is missing."""
_PLURAL: dict[Kind, str] = {"Device": DEVICES, "FleetDeployment": DEPLOYMENTS}


class _Told(msgspec.Struct, frozen=True):
    kind: Kind
    meta: Meta
    note: Note
    at: float


class Objects:
    """The API server, and what the store knows of its objects."""

    def __init__(self, api: KubeApi, store: Store, readiness: Readiness, strays: Strays) -> None:
        """A right that is missing makes the operator unready; an object that is refused is a stray."""
        self._api = api
        self._store = store
        self._readiness = readiness
        self._strays = strays
        self._refused: set[str] = set()
        self._tried: set[str] = set()
        self._untold: deque[_Told] = deque(maxlen=_UNTOLD)

    async def finish(self) -> None:
        """The pass is over: tell what could not be told before, and forget refusals of what is no longer wanted.

        Raises:
            Unreachable: the API server did not answer.
        """
        for _ in range(len(self._untold)):
            await self._tell(self._untold.popleft())
        for right in self._refused - self._tried:
            self._refused.discard(right)
            self._readiness.settled(right)
        self._tried.clear()

    async def do(self, action: ObjectAction) -> str:
        """Carry out one; says what came of it.

        Raises:
            Unreachable: the API server did not answer.
        """
        kind: Kind = "Device"
        if isinstance(action, PatchDeploymentStatus):
            kind = "FleetDeployment"
        elif isinstance(action, AddFinalizer | RemoveFinalizer):
            kind = action.kind
        known = self._known(kind, action.name)
        if known is None:
            return "gone"
        meta = Meta(action.name, known.metadata.uid, known.metadata.resource_version, known.metadata.finalizers)
        match action:
            case AddFinalizer() | RemoveFinalizer():
                held = isinstance(action, AddFinalizer)
                write = self._api.set_finalizers(kind, meta, held=held)
                return await self._write(kind, meta, f"patch {_PLURAL[kind]}", write, ())
            case PatchDeviceStatus(_, status, notes) | PatchDeploymentStatus(_, status, notes):
                write = self._api.patch_status(kind, meta, status)
                return await self._write(kind, meta, f"patch {_PLURAL[kind]}/status", write, notes)

    def _known(self, kind: Kind, name: str) -> Device | FleetDeployment | None:
        shelf = self._store.devices if kind == "Device" else self._store.deployments
        return shelf.items.get(name)

    async def _write(
        self, kind: Kind, meta: Meta, right: str, write: Coroutine[object, object, bytes], notes: tuple[Note, ...]
    ) -> str:
        self._tried.add(right)
        try:
            answer = await write
        except (Conflict, NotFound):
            # What it was computed from is out of date, and the watch is about to tell.
            return "outdated"
        except NotPermitted as error:
            self._refuse(right, error)
            return "refused"
        except InvalidInput as error:
            self._strays.note(kind, meta.name, f"cannot {right}: {error.what}")
            return "refused"
        self._permit(right)
        self._take(kind, answer)
        for note in notes:
            await self._tell(_Told(kind, meta, note, time.time()))
        return "done"

    def _refuse(self, right: str, error: NotPermitted) -> None:
        self._refused.add(right)
        self._readiness.wrong(right, error.what)

    def _permit(self, right: str) -> None:
        self._refused.discard(right)
        self._readiness.settled(right)

    def _take(self, kind: Kind, answer: bytes) -> None:
        if kind == "Device":
            self._store.devices.put(parse(answer, Device))
        else:
            self._store.deployments.put(parse(answer, FleetDeployment))

    async def _tell(self, told: _Told) -> None:
        right = "create events"
        self._tried.add(right)
        try:
            await self._api.tell(told.kind, told.meta, told.note, told.at)
        except NotPermitted as error:
            self._refuse(right, error)
            self._untold.append(told)
        except (NotFound, Conflict, InvalidInput) as error:
            self._strays.note("Event", told.meta.name, error.what)
        else:
            self._permit(right)
