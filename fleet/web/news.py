"""What to say of an object that is another one than before, and of what a device reports."""

from __future__ import annotations

from datetime import datetime

import msgspec

from fleet.contract.objects import Device, WorkloadStatus
from fleet.web.seen import Deployment, Unreadable, condition


class News(msgspec.Struct, frozen=True):
    """One change. `moment` is when it came about, RFC 3339, and empty where the object does not say so."""

    text: str
    moment: str = ""


def seconds(moment: str) -> float | None:
    """Unix seconds of an RFC 3339 time; None where it is none, as a status may hold what a device wrote."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        return None


def device_news(before: Device | Unreadable | None, after: Device) -> list[News]:
    """What to say of a device that changed: each condition that did."""
    if before is None:
        return [News("created", after.metadata.creation_timestamp)]
    if isinstance(before, Unreadable):
        return [News("can be read again")]
    known = {one.type: (one.status, one.reason) for one in before.status.conditions}
    changed = [one for one in after.status.conditions if known.get(one.type) != (one.status, one.reason)]
    news = [
        News(f"{one.type} {one.status} ({one.reason}) {one.message}".rstrip(), one.last_transition_time)
        for one in changed
    ]
    if before.spec != after.spec:
        news.append(News("what is wanted of it changed"))
    return news


def deployment_news(before: Deployment | Unreadable | None, after: Deployment) -> list[News]:
    """What to say of a deployment that changed: where it stands."""
    if before == after:
        return []
    ready = condition(after, "Ready")
    told = f"{ready.reason}: {ready.message}" if ready else "accepted"
    return [News(f"generation {after.metadata.generation} {told}".rstrip(": "))]


def state_text(one: WorkloadStatus) -> str:
    """A workload on a device as a line."""
    return f"{one.name} {one.phase} ({one.reason}) generation {one.generation} {one.message}".rstrip()


def verdict(one: WorkloadStatus) -> tuple[object, ...]:
    """What makes a workload's state another one."""
    return one.name, one.generation, one.phase, one.reason, one.message


def all_told(one: WorkloadStatus) -> tuple[object, ...]:
    """A verdict with the containers of a pod: a status has no room for those of many pods."""
    return *verdict(one), one.containers
