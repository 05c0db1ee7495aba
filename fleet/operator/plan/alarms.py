"""When time alone calls for another decision about a device."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

import msgspec

from fleet.operator.reconcile.guard import Guard
from fleet.operator.reconcile.quarantine import change_times
from fleet.operator.reconcile.snapshot import Snapshot, deadline

_AFTER = 0.001
"""Seconds past a moment: then it has passed for every way of computing it."""


def moments(snapshot: Snapshot, device: str) -> Iterator[float]:
    """When the state of a device changes by time alone, on `Snapshot.clock`: each comparison with it has an alarm."""
    heard = snapshot.heartbeats.get(device)
    if heard is not None:
        yield deadline(heard, snapshot.offline_after)
        yield snapshot.excused.get(device, 0.0)
        if device in snapshot.duplicates:
            yield snapshot.duplicates[device].at + snapshot.duplicate_expiry(device)
    if device in snapshot.targets:
        for beat in snapshot.agent_heartbeats.get(device, {}).values():
            yield deadline(beat, snapshot.offline_after)
        if device in snapshot.leases:
            yield snapshot.leases[device].since + snapshot.rules.soak
        if device in snapshot.grants:
            yield snapshot.grants[device][1] + snapshot.rules.grant
    known = snapshot.devices.get(device)
    identity = snapshot.identities.get(known.spec.subject) if known is not None else None
    if identity is not None and identity.quarantine is not None:
        for moment in change_times(identity.quarantine):
            yield moment - snapshot.now + snapshot.clock


def _next(snapshot: Snapshot, device: str, after: float) -> float:
    later = (moment + _AFTER for moment in moments(snapshot, device) if moment + _AFTER > after)
    return min(later, default=math.inf)


class _Alarm(msgspec.Struct):
    decided: float
    rings: float


class Alarms:
    """An alarm for each device. An alarm that fires too early is set again, so a heartbeat does not have to move it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._alarms: dict[str, _Alarm] = {}
        self._heap: list[tuple[float, str]] = []

    def decided(self, snapshot: Snapshot, device: str) -> None:
        """A device was decided about; set its alarm, unless it rings early enough."""
        alarm = self._alarms.setdefault(device, _Alarm(snapshot.clock, math.inf))
        alarm.decided = snapshot.clock
        self._set(device, alarm, _next(snapshot, device, snapshot.clock))

    def forget(self, device: str) -> None:
        """There is no such device any more."""
        self._alarms.pop(device, None)

    def due(self, snapshot: Snapshot) -> list[str]:
        """The devices whose state changed by time alone since the last decision about them."""
        found: list[str] = []
        while self._heap and self._heap[0][0] <= snapshot.clock:
            moment, device = heapq.heappop(self._heap)
            alarm = self._alarms.get(device)
            if alarm is None or alarm.rings != moment:
                continue
            alarm.rings = math.inf
            with self._guard.of("Device", device):
                moment = _next(snapshot, device, alarm.decided)
                if moment <= snapshot.clock:
                    found.append(device)
                else:
                    self._set(device, alarm, moment)
        return found

    def next(self) -> float | None:
        """When the next one rings, if any."""
        return self._heap[0][0] if self._heap else None

    def _set(self, device: str, alarm: _Alarm, moment: float) -> None:
        if moment < alarm.rings:
            alarm.rings = moment
            heapq.heappush(self._heap, (moment, device))
