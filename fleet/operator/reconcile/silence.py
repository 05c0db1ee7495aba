"""What statuses say while NATS is silent: of a device nothing follows from it, and what was known ages."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from fleet.contract.objects import Condition, DeploymentStatus, Device, DeviceStatus, FleetDeployment
from fleet.operator.new_condition import NewCondition
from fleet.operator.reconcile.actions import PatchDeploymentStatus, PatchDeviceStatus
from fleet.operator.reconcile.guard import Guard, Trouble
from fleet.operator.reconcile.snapshot import Snapshot, live
from fleet.operator.status import timestamp

NATS_SILENT = "NatsSilent"
_USUAL_INTERVAL = 10.0
"""Seconds between heartbeats: what is known of deployments stands as long as a device with this may be silent."""

S = TypeVar("S", DeviceStatus, DeploymentStatus)


def unheard(snapshot: Snapshot, device: Device) -> NewCondition:
    """The condition `Online` of a device that was there when NATS fell silent, and whose heartbeat is overdue since."""
    if snapshot.silent_since:
        return NewCondition(
            "Online", "Unknown", NATS_SILENT, f"{_since(snapshot)}; until then its heartbeat was recent"
        )
    before = next((condition for condition in device.status.conditions if condition.type == "Online"), None)
    if before is not None and before.reason == NATS_SILENT:
        return NewCondition("Online", before.status, before.reason, before.message)
    return NewCondition(
        "Online", "Unknown", "HeartbeatAwaited", "NATS was away from the operator; its heartbeat is awaited"
    )


def _since(snapshot: Snapshot) -> str:
    return f"the operator has heard nothing from NATS since {timestamp(snapshot.silent_since)}"


def silenced(snapshot: Snapshot, trouble: Trouble) -> list[PatchDeviceStatus | PatchDeploymentStatus]:
    """Withdraw statements that may no longer be true while NATS is silent; nothing while it is not."""
    if not snapshot.silent_since:
        return []
    patches: list[PatchDeviceStatus | PatchDeploymentStatus] = []
    guard = Guard(trouble)
    for name, device in snapshot.devices.items():
        with guard.of("Device", name):
            patches += _device(snapshot, device)
    if snapshot.now - snapshot.silent_since > snapshot.offline_after * _USUAL_INTERVAL:
        for name, deployment in snapshot.deployments.items():
            with guard.of("FleetDeployment", name):
                patches += _deployment(snapshot, deployment)
    return patches


def _device(snapshot: Snapshot, device: Device) -> list[PatchDeviceStatus]:
    name = device.metadata.name
    if not live(device) or snapshot.recent(name):
        return []
    text = f"{_since(snapshot)}; until then its heartbeat was recent"
    status = _unknown(device.status, {"Online"}, text, snapshot.now)
    return [PatchDeviceStatus(name, status)] if status != device.status else []


def _deployment(snapshot: Snapshot, deployment: FleetDeployment) -> list[PatchDeploymentStatus]:
    status = _unknown(deployment.status, {"Ready", "Progressing"}, _since(snapshot), snapshot.now)
    changed = live(deployment) and status != deployment.status
    return [PatchDeploymentStatus(deployment.metadata.name, status)] if changed else []


def _unknown(status: S, kinds: set[str], text: str, now: float) -> S:
    """The status with those conditions `Unknown` that claim something; what is not so is not so still."""
    conditions = tuple(
        _doubted(condition, text, now) if condition.type in kinds else condition for condition in status.conditions
    )
    return msgspec.structs.replace(status, conditions=conditions)


def _doubted(known: Condition, text: str, now: float) -> Condition:
    if known.status == "Unknown" or (known.type, known.status) == ("Online", "False"):
        return known
    message = text if known.type == "Online" else f"{text}; then it was {known.status} ({known.reason})"
    return Condition(known.type, "Unknown", NATS_SILENT, message, timestamp(now), known.observed_generation)
