"""What happened to a device, the newest first: what its status tells of the past, and what this page's server saw.

A status says of each condition and each workload only its last change. It survives a restart of the page's server, and
what that saw does not; so the status tells of the time before, and what was seen of the time since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from fleet.contract.objects import Device, WorkloadStatus
from fleet.contract.printable import one_line
from fleet.web.messages import EventMessage
from fleet.web.tail import Line


class Happening(msgspec.Struct, frozen=True):
    """One of them; `at` is Unix seconds."""

    at: float
    source: str
    text: str


class Event(msgspec.Struct, frozen=True):
    """An Event of Kubernetes about an object; `at` is Unix seconds, of the last of `count`."""

    at: float
    type: str
    reason: str
    message: str
    count: int


def events_of(events: Iterable[EventMessage], kind: str, name: str, most: int) -> tuple[Event, ...]:
    """The newest of one object, the newest first; `events` has the newest last."""
    own = [one for one in events if (one.kind, one.name) == (kind, name)][-most:]
    return tuple(
        Event(one.last, one_line(one.event_type), one_line(one.reason), one_line(one.message), one.count)
        for one in sorted(own, key=lambda one: one.last, reverse=True)
    )


def history(
    device: Device, workloads: Sequence[WorkloadStatus], seen: Sequence[Line], seen_since: float, most: int
) -> tuple[Happening, ...]:
    """At most `most`; `seen` are lines about the device, of which there are all since `seen_since` (Unix seconds)."""
    # The same change is told once, also where the operator's clock is behind ours.
    again = {line.text for line in seen}
    before = [one for one in _told(device, workloads) if one.at < seen_since and one.text not in again]
    since = [Happening(line.at, line.source, line.text) for line in seen]
    return tuple(sorted((*since, *before), key=lambda one: one.at, reverse=True)[:most])


def _told(device: Device, workloads: Sequence[WorkloadStatus]) -> Iterable[Happening]:
    moments = [(device.metadata.creation_timestamp, "Device", "created")]
    moments += [
        (one.last_transition_time, "Device", f"{one.type} {one.status} ({one.reason}) {one.message}")
        for one in device.status.conditions
    ]
    moments += [
        (one.since, "device-state", f"{one.name} {one.phase} ({one.reason}) generation {one.generation} {one.message}")
        for one in workloads
    ]
    for moment, source, text in moments:
        at = _seconds(moment)
        if at is not None:
            yield Happening(at, source, one_line(text.rstrip()))


def _seconds(moment: str) -> float | None:
    """Unix seconds of an RFC 3339 time; None where it is none, as a status may hold what a device wrote."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        return None
