"""One device: its keys, its status, its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fleet.contract.labels import carried_over
from fleet.contract.objects import Device, DeviceStatus
from fleet.contract.wire import Desired, DesiredIndex
from fleet.operator.new_condition import NewCondition
from fleet.operator.reconcile import quarantine, trust, volumes
from fleet.operator.reconcile.actions import (
    Action,
    AddFinalizer,
    CarryLabels,
    ClearVolumeOrders,
    DeleteDesired,
    DeleteStates,
    PatchDeviceStatus,
    Purge,
    RemoveFinalizer,
    WriteDesired,
    WriteIndex,
)
from fleet.operator.reconcile.identities import Admission
from fleet.operator.reconcile.notes import device_change_notes, workload_notes
from fleet.operator.reconcile.placement import DevicePlacement
from fleet.operator.reconcile.quarantine import QUARANTINE_EVENTS
from fleet.operator.reconcile.silence import unheard
from fleet.operator.reconcile.snapshot import Snapshot, deleting, held
from fleet.operator.reconcile.upgrades import UPGRADES_TOLD
from fleet.operator.reconcile.workloads import shown_workloads, trouble
from fleet.operator.status import notes, settle, timestamp

_TOLD: Mapping[str, Literal["Normal", "Warning"]] = {
    "HeartbeatReceived": "Normal",
    "HeartbeatMissed": "Warning",
    "IdentityRegistered": "Normal",
    "SubjectTaken": "Warning",
    "TwoDevicesBeat": "Warning",
    "InfoRefused": "Warning",
    "ClockWrong": "Warning",
    "SessionsDropped": "Normal",
    "Cordoned": "Normal",
    "LeftBehind": "Warning",
    **QUARANTINE_EVENTS,
    "StateNotSaved": "Warning",
    **UPGRADES_TOLD,
}


def reconcile_device(
    snapshot: Snapshot, device: Device, admission: Admission, placement: DevicePlacement, upgraded: NewCondition | None
) -> list[Action]:
    """What to do for one device; `upgraded` is how its agent stands."""
    name = device.metadata.name
    if deleting(device):
        if held(device) and admission.dropped:
            return [Purge(name), RemoveFinalizer("Device", name)]
        return []
    if not held(device):
        return [AddFinalizer("Device", name)]
    # One write of an object at a time, and labels count before they are carried over.
    cleared: list[Action] = [ClearVolumeOrders(name)] if volumes.over(device) else []
    writes = _status(snapshot, device, admission, placement, upgraded) or cleared or _labels(device)
    return [*_keys(snapshot, device, placement.wanted), *writes]


def _labels(device: Device) -> list[Action]:
    return [CarryLabels(device.metadata.name)] if carried_over(device) else []


def _keys(snapshot: Snapshot, device: Device, wanted: Mapping[str, Desired]) -> list[Action]:
    name = device.metadata.name
    entries = snapshot.desired.get(name, {})
    actions: list[Action] = [
        WriteDesired(name, deployment, desired)
        for deployment, desired in wanted.items()
        if entries.get(deployment) != desired
    ]
    index = DesiredIndex(
        {deployment: desired.generation for deployment, desired in wanted.items()},
        volumes.unanswered(device, device.status.info, snapshot.infos.get(name)),
    )
    if snapshot.indexes.get(name) != index:
        actions.append(WriteIndex(name, index))
    actions += [DeleteDesired(name, deployment) for deployment in entries if deployment not in wanted]
    reports = snapshot.states.get(name, {})
    if strays := frozenset(deployment for deployment in reports if deployment not in wanted):
        actions.append(DeleteStates(name, strays))
    return actions


def _status(
    snapshot: Snapshot, device: Device, admission: Admission, placement: DevicePlacement, upgraded: NewCondition | None
) -> list[Action]:
    name, old, wanted = device.metadata.name, device.status, placement.wanted
    revoked = _revoked(device, admission)
    # What a device was stays told until it says something else.
    reported = snapshot.infos.get(name, old.info)
    refusal = snapshot.refused.get(name)
    refused = refusal is not None and refusal.info == reported
    info = None if refused else reported
    further = [upgraded] if upgraded else []
    further += _quarantined(device, admission)
    if device.spec.cordoned:
        further.append(_CORDONED)
    if snapshot.is_duplicated(name):
        further.append(_DOUBLED)
    if name in snapshot.clocks:
        further.append(_clock(snapshot.clocks[name]))
    if (outdated := trust.condition(reported, snapshot.trust_bundle, online=snapshot.online(name))) is not None:
        further.append(outdated)
    if (ordered := volumes.condition(device, info)) is not None:
        further.append(ordered)
    if refusal is not None and refused:
        further.append(NewCondition("InfoAccepted", "False", "InfoRefused", f"what it says of itself: {refusal.why}"))
    states = snapshot.states.get(name, {})
    workloads = shown_workloads(wanted, states, old.workloads, snapshot.now, problems=placement.problems)
    if (troubled := trouble(workloads)) is not None:
        further.append(troubled)
    found = (_enrolled(device, admission), _online(snapshot, device, revoked), revoked, *further)
    conditions = settle(old.conditions, found, device.metadata.generation, snapshot.now)
    known = (old.conditions, old.info, old.deployments, old.workloads)
    if known == (conditions, info, len(wanted), workloads):
        return []
    heard = snapshot.heartbeats.get(name)
    last = timestamp(snapshot.now - (snapshot.clock - heard.at)) if heard else None
    status = DeviceStatus(info, last, len(wanted), workloads, conditions)
    events = (
        *device_change_notes(device.metadata, old),
        *notes(old.conditions, conditions, _TOLD),
        *workload_notes(old, workloads, wanted),
        *volumes.removal_notes(device, info),
    )
    return [PatchDeviceStatus(name, status, events)]


_CORDONED = NewCondition(
    "Cordoned", "True", "Cordoned", "no change of a deployment is sent to it until it is uncordoned"
)


def _clock(ahead: float) -> NewCondition:
    way = "ahead of" if ahead > 0 else "behind"
    return NewCondition("ClockDiffers", "True", "ClockWrong", f"its clock is {abs(ahead):.0f} s {way} that of NATS")


def _quarantined(device: Device, admission: Admission) -> list[NewCondition]:
    before = next((one for one in device.status.conditions if one.type == quarantine.CONDITION), None)
    condition = quarantine.condition(admission.identity, before)
    return [condition] if condition else []


_DOUBLED = NewCondition(
    "DuplicateIdentity",
    "True",
    "TwoDevicesBeat",
    "two devices use its identity (a copied disk?), and overwrite each other's reports: enroll one of them anew",
)


def _enrolled(device: Device, admission: Admission) -> NewCondition:
    if admission.registered:
        return NewCondition("Enrolled", "True", "IdentityRegistered", "its identity is in the registry")
    if admission.taken_by:
        return NewCondition("Enrolled", "False", "SubjectTaken", f"its subject belongs to device {admission.taken_by}")
    if device.spec.subject:
        return NewCondition("Enrolled", "False", "SubjectChanging", "its subject's former sessions are being ended")
    return NewCondition("Enrolled", "False", "NoSubject", "it has no machine identity: run `fleet device enroll`")


def _revoked(device: Device, admission: Admission) -> NewCondition:
    if not device.spec.revoked:
        return NewCondition("Revoked", "False", "NotRevoked", "it may connect")
    # Sessions that were seen to be gone stay gone: after a restart they are looked for again, without a new verdict.
    before = {condition.type: condition for condition in device.status.conditions}.get("Revoked")
    known = before is not None and before.status == "True" and before.observed_generation == device.metadata.generation
    if admission.dropped or known:
        return NewCondition("Revoked", "True", "SessionsDropped", "it is denied, and has no session")
    return NewCondition("Revoked", "False", "Revoking", "it is denied; its sessions are being ended")


def _online(snapshot: Snapshot, device: Device, revoked: NewCondition) -> NewCondition:
    name = device.metadata.name
    if revoked.status == "True":
        return NewCondition("Online", "False", "Revoked", "it may not connect")
    if name not in snapshot.heartbeats:
        return NewCondition("Online", "Unknown", "NeverSeen", "no heartbeat yet")
    if snapshot.recent(name):
        return NewCondition("Online", "True", "HeartbeatReceived", "its heartbeat is recent")
    if snapshot.online(name):
        return unheard(snapshot, device)
    return NewCondition("Online", "False", "HeartbeatMissed", "its heartbeat is overdue")
