"""What happened to a device, the newest first: what its status tells of the past, and what this page's server saw.

A status says of each condition and each workload only its last change. It survives a restart of the page's server, and
what that saw does not; it also has what was missed while Kubernetes or NATS was away. So each change that a status
tells stands beside what was seen, unless that was the last to be seen of the same condition or workload. Of a time in
which Kubernetes or NATS did not answer it is said that changes of that time may be missing.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence

import msgspec

from fleet.contract.objects import Device, WorkloadStatus
from fleet.contract.printable import one_line
from fleet.web.changes import unix_seconds
from fleet.web.messages import EventMessage
from fleet.web.source import Gap
from fleet.web.tail import Line


class HistoryEntry(msgspec.Struct, frozen=True):
    """One of them; `at` is Unix seconds. Of a `gap` it is the end."""

    at: float
    source: str
    text: str
    gap: bool = False


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
    device: Device, workloads: Sequence[WorkloadStatus], seen: Sequence[Line], gaps: Iterable[Gap], most: int
) -> tuple[HistoryEntry, ...]:
    """At most `most`, and the gaps between them; `seen` are lines about the device, the newest first."""
    told = [one.entry for one in _status_changes(device, workloads) if not one.is_in(seen)]
    every = [*(HistoryEntry(line.at, line.source, line.text) for line in seen), *told]
    every.sort(key=lambda one: one.at, reverse=True)
    shown = every[:most]
    begin = shown[-1].at if len(shown) < len(every) else unix_seconds(device.metadata.creation_timestamp) or 0.0
    missed = [
        HistoryEntry(one.until, one.source, one.text, gap=True) for one in _merged(gaps, shown) if one.until > begin
    ]
    return tuple(sorted([*shown, *missed], key=lambda one: one.at, reverse=True))


def _merged(gaps: Iterable[Gap], shown: Sequence[HistoryEntry]) -> list[Gap]:
    """The gaps, the oldest first; those of a source between which nothing is shown are one."""
    times = sorted(one.at for one in shown)
    merged: dict[tuple[str, int], Gap] = {}
    for gap in gaps:
        place = gap.source, bisect(times, gap.until)
        first = merged.get(place, gap)
        count = first.count + gap.count if place in merged else gap.count
        merged[place] = Gap(gap.source, first.since, gap.until, count)
    return list(merged.values())


class _StatusChange(msgspec.Struct, frozen=True):
    """A change that the status tells: what it is about, and how that state, as lines of the tail begin."""

    entry: HistoryEntry
    about: str
    state: str

    def is_in(self, seen: Sequence[Line]) -> bool:
        """Whether what was seen last of the same is this change; times do not tell, for clocks differ."""
        own = (line for line in seen if line.source == self.entry.source and line.text.startswith(self.about))
        last = next(own, None)
        return last is not None and last.text.startswith(self.state)


def _status_changes(device: Device, workloads: Sequence[WorkloadStatus]) -> Iterable[_StatusChange]:
    times = [(device.metadata.creation_timestamp, "Device", "created", "created", "")]
    times += [
        (one.last_transition_time, "Device", f"{one.type} ", f"{one.type} {one.status} ({one.reason})", one.message)
        for one in device.status.conditions
    ]
    times += [
        (
            one.since,
            "device-state",
            f"{one.name} ",
            f"{one.name} {one.phase} ({one.reason})" + (f" generation {one.generation}" if one.generation else ""),
            one.message,
        )
        for one in workloads
    ]
    for time, source, about, state, message in times:
        at = unix_seconds(time)
        if at is not None:
            text = one_line(f"{state} {message}".rstrip())
            yield _StatusChange(HistoryEntry(at, source, text), one_line(about), one_line(state))
