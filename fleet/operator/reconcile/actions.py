"""What a reconcile wants done, as data.

`ORDER` is the order of execution. Each may be cut off from the ones after it at any point, for the next reconcile looks
at what is there, not at what was done.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fleet.contract.objects import DeploymentStatus, DeviceStatus, Kind
from fleet.contract.wire import AgentTarget, Desired, DesiredIndex, Identity


class AddFinalizer(msgspec.Struct, frozen=True):
    """Hold an object before anything is written for it."""

    kind: Kind
    name: str


class CarryLabels(msgspec.Struct, frozen=True):
    """Copy changed labels from a device's spec to its metadata (decision 037)."""

    device: str


class ClearVolumeOrders(msgspec.Struct, frozen=True):
    """Remove the volume orders from a device's spec that have an outcome in its status."""

    device: str


class WriteIdentity(msgspec.Struct, frozen=True):
    """Put a device into the registry, or say there that it is revoked."""

    subject: str
    identity: Identity


class Kick(msgspec.Struct, frozen=True):
    """End a device's sessions, after the registry denies `denied`.

    A `banned` device has no session left when it is done; one that merely changed its subject comes back at once.
    """

    device: str
    denied: frozenset[str]
    banned: bool


class WriteDesired(msgspec.Struct, frozen=True):
    """Write an entry of a device's desired state."""

    device: str
    deployment: str
    desired: Desired


class WriteIndex(msgspec.Struct, frozen=True):
    """Tell a device which entries count; after they are written and before any is deleted."""

    device: str
    index: DesiredIndex


class DeleteDesired(msgspec.Struct, frozen=True):
    """Delete an entry that the index no longer names."""

    device: str
    deployment: str


class DeleteStates(msgspec.Struct, frozen=True):
    """Delete what a device once reported of deployments that it does not have.

    One action for all of them: a device can invent names, and each write is of all that it reports.
    """

    device: str
    deployments: frozenset[str]


class WriteTarget(msgspec.Struct, frozen=True):
    """Order an agent version, or say how far that may go; over the very entry that the decision was made of.

    `over` is None where there was none.
    """

    device: str
    target: AgentTarget
    over: AgentTarget | None


class DeleteIdentity(msgspec.Struct, frozen=True):
    """Forget a subject, once its sessions are gone."""

    subject: str


class Purge(msgspec.Struct, frozen=True):
    """Delete every key of a device in every bucket."""

    device: str


class RemoveFinalizer(msgspec.Struct, frozen=True):
    """Let an object go: it has left nothing behind."""

    kind: Kind
    name: str


class Note(msgspec.Struct, frozen=True):
    """A Kubernetes Event about a transition."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class PatchDeviceStatus(msgspec.Struct, frozen=True):
    """Replace a device's status, if the object is still the one that it was computed from."""

    name: str
    status: DeviceStatus
    notes: tuple[Note, ...] = ()


class PatchDeploymentStatus(msgspec.Struct, frozen=True):
    """Replace a deployment's status, if the object is still the one that it was computed from."""

    name: str
    status: DeploymentStatus
    notes: tuple[Note, ...] = ()


Action = (
    AddFinalizer
    | CarryLabels
    | ClearVolumeOrders
    | WriteIdentity
    | Kick
    | WriteDesired
    | WriteIndex
    | DeleteDesired
    | DeleteStates
    | WriteTarget
    | DeleteIdentity
    | Purge
    | RemoveFinalizer
    | PatchDeviceStatus
    | PatchDeploymentStatus
)

ORDER: tuple[type[Action], ...] = (
    AddFinalizer,
    CarryLabels,
    ClearVolumeOrders,
    WriteIdentity,
    Kick,
    WriteDesired,
    WriteIndex,
    DeleteDesired,
    DeleteStates,
    WriteTarget,
    DeleteIdentity,
    Purge,
    RemoveFinalizer,
    PatchDeploymentStatus,
    PatchDeviceStatus,
)
"""Deployments' status comes before devices': there are few of them, and people wait for them."""
_RANK = {kind: rank for rank, kind in enumerate(ORDER)}


def stage(action: Action) -> int:
    """Where the action stands in the order; those of one stage may run at once."""
    return _RANK[type(action)]
