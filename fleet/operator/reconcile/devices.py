"""One device: its keys, its status, its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fleet.contract.objects import Device, DeviceStatus
from fleet.contract.wire import Desired, DesiredIndex
from fleet.operator.claim import Claim
from fleet.operator.reconcile.actions import (
    Action,
    AddFinalizer,
    DeleteDesired,
    DeleteState,
    PatchDeviceStatus,
    Purge,
    RemoveFinalizer,
    WriteDesired,
    WriteIndex,
)
from fleet.operator.reconcile.identities import Admission
from fleet.operator.reconcile.snapshot import Snapshot, deleting, held
from fleet.operator.reconcile.upgrades import UPGRADES_TOLD
from fleet.operator.status import notes, settle, timestamp

_TOLD: Mapping[str, Literal["Normal", "Warning"]] = {
    "HeartbeatMissed": "Warning",
    "SubjectTaken": "Warning",
    "TwoDevicesBeat": "Warning",
    "InfoRefused": "Warning",
    "SessionsDropped": "Normal",
    **UPGRADES_TOLD,
}


def reconcile_device(
    snapshot: Snapshot, device: Device, admission: Admission, wanted: Mapping[str, Desired], upgraded: Claim | None
) -> list[Action]:
    """What to do for one device; `wanted` is the desired state it is to have, `upgraded` how its agent stands."""
    name = device.metadata.name
    if deleting(device):
        if held(device) and admission.dropped:
            return [Purge(name), RemoveFinalizer("Device", name)]
        return []
    if not held(device):
        return [AddFinalizer("Device", name)]
    return [*_keys(snapshot, device, wanted), *_status(snapshot, device, admission, len(wanted), upgraded)]


def _keys(snapshot: Snapshot, device: Device, wanted: Mapping[str, Desired]) -> list[Action]:
    name = device.metadata.name
    entries = snapshot.desired.get(name, {})
    actions: list[Action] = [
        WriteDesired(name, deployment, desired)
        for deployment, desired in wanted.items()
        if entries.get(deployment) != desired
    ]
    index = DesiredIndex({deployment: desired.generation for deployment, desired in wanted.items()})
    if snapshot.indexes.get(name) != index:
        actions.append(WriteIndex(name, index))
    actions += [DeleteDesired(name, deployment) for deployment in entries if deployment not in wanted]
    reports = snapshot.states.get(name, {})
    actions += [DeleteState(name, deployment) for deployment in reports if deployment not in wanted]
    return actions


def _status(
    snapshot: Snapshot, device: Device, admission: Admission, deployments: int, upgraded: Claim | None
) -> list[Action]:
    name, old = device.metadata.name, device.status
    revoked = _revoked(device, admission)
    # What a device was stays told until it says something else.
    said = snapshot.infos.get(name, old.info)
    refusal = snapshot.refused.get(name)
    refused = refusal is not None and refusal.info == said
    info = None if refused else said
    further = [upgraded] if upgraded else []
    if snapshot.is_doubled(name):
        further.append(_DOUBLED)
    if refusal is not None and refused:
        further.append(Claim("InfoAccepted", "False", "InfoRefused", f"what it says of itself: {refusal.why}"))
    claims = (_enrolled(device, admission), _online(snapshot, name, revoked), revoked, *further)
    conditions = settle(old.conditions, claims, device.metadata.generation, snapshot.now)
    if (old.conditions, old.info, old.deployments) == (conditions, info, deployments):
        return []
    heard = snapshot.heard.get(name)
    last = timestamp(snapshot.now - (snapshot.clock - heard.at)) if heard else None
    status = DeviceStatus(info=info, last_heartbeat=last, deployments=deployments, conditions=conditions)
    return [PatchDeviceStatus(name, status, notes(old.conditions, conditions, _TOLD))]


_DOUBLED = Claim(
    "DuplicateIdentity",
    "True",
    "TwoDevicesBeat",
    "two devices use its identity (a copied disk?), and overwrite each other's reports: enroll one of them anew",
)


def _enrolled(device: Device, admission: Admission) -> Claim:
    if admission.registered:
        return Claim("Enrolled", "True", "IdentityRegistered", "its identity is in the registry")
    if admission.taken_by:
        return Claim("Enrolled", "False", "SubjectTaken", f"its subject belongs to device {admission.taken_by}")
    if device.spec.subject:
        return Claim("Enrolled", "False", "SubjectChanging", "its subject's former sessions are being ended")
    return Claim("Enrolled", "False", "NoSubject", "it has no machine identity: run `fleet device enroll`")


def _revoked(device: Device, admission: Admission) -> Claim:
    if not device.spec.revoked:
        return Claim("Revoked", "False", "NotRevoked", "it may connect")
    # Sessions that were seen to be gone stay gone: after a restart they are looked for again, without a new verdict.
    before = {condition.type: condition for condition in device.status.conditions}.get("Revoked")
    known = before is not None and before.status == "True" and before.observed_generation == device.metadata.generation
    if admission.dropped or known:
        return Claim("Revoked", "True", "SessionsDropped", "it is denied, and has no session")
    return Claim("Revoked", "False", "Revoking", "it is denied; its sessions are being ended")


def _online(snapshot: Snapshot, name: str, revoked: Claim) -> Claim:
    if revoked.status == "True":
        return Claim("Online", "False", "Revoked", "it may not connect")
    if name not in snapshot.heard:
        return Claim("Online", "Unknown", "NeverSeen", "no heartbeat yet")
    if snapshot.online(name):
        return Claim("Online", "True", "HeartbeatReceived", "its heartbeat is recent")
    return Claim("Online", "False", "HeartbeatMissed", "its heartbeat is overdue")
