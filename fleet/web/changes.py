"""What to say of an object that is another one than before, and of what a device reports."""

from __future__ import annotations

from datetime import datetime

import msgspec

from fleet.contract.objects import Device, WorkloadStatus
from fleet.web.objects import Deployment, Unreadable, condition


class Change(msgspec.Struct, frozen=True):
    """One change. `time` is when it came about, RFC 3339, and empty where the object does not say so."""

    text: str
    time: str = ""


def unix_seconds(time: str) -> float | None:
    """Unix seconds of an RFC 3339 time; None where it is none, as a status may hold what a device wrote."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return None


def device_changes(before: Device | Unreadable | None, after: Device) -> list[Change]:
    """What to say of a device that changed: each condition that did, or that is not there any more."""
    if before is None:
        return [Change("created", after.metadata.creation_timestamp)]
    if isinstance(before, Unreadable):
        return [Change("can be read again")]
    known = {one.type: (one.status, one.reason) for one in before.status.conditions}
    changed = [one for one in after.status.conditions if known.get(one.type) != (one.status, one.reason)]
    news = [
        Change(f"{one.type} {one.status} ({one.reason}) {one.message}".rstrip(), one.last_transition_time)
        for one in changed
    ]
    news += [Change(f"{gone} ended") for gone in sorted(known.keys() - {one.type for one in after.status.conditions})]
    if before.spec != after.spec:
        news.append(Change("what is wanted of it changed"))
    return news


def deployment_changes(before: Deployment | Unreadable | None, after: Deployment) -> list[Change]:
    """What to say of a deployment that changed: where it stands."""
    if before == after:
        return []
    if not after.current:
        return [Change(f"generation {after.metadata.generation} is ordered; the operator has not seen it yet")]
    ready = condition(after, "Ready")
    told = f"{ready.reason}: {ready.message}" if ready else "accepted"
    return [Change(f"generation {after.metadata.generation} {told}".rstrip(": "))]


def state_text(workload: WorkloadStatus) -> str:
    """A workload on a device as a line."""
    state = f"{workload.name} {workload.phase} ({workload.reason}) generation {workload.generation}"
    return f"{state} {workload.message}".rstrip()


def comparable_state(workload: WorkloadStatus) -> tuple[object, ...]:
    """What makes a workload's state another one."""
    return workload.name, workload.generation, workload.phase, workload.reason, workload.message


def full_state(workload: WorkloadStatus) -> tuple[object, ...]:
    """A comparable state with the containers of a pod: a status has no room for those of many pods."""
    return *comparable_state(workload), workload.containers
