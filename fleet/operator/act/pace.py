"""How often an object may be written: after an admin's change at once, for a device's reports within bounds.

A device decides how often it says something new. Each write of its object stays in etcd until the next compaction, so
without a bound one device fills it, and then no object of the cluster can be written.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from fleet.contract.objects import Condition, DeploymentStatus, DeviceStatus
from fleet.operator.reconcile.actions import Kind, PatchDeploymentStatus, PatchDeviceStatus

Key = tuple[Kind, str]
"""The kind and the name of an object."""


class Urgency(IntEnum):
    """What a write reports, the most urgent first."""

    ADMIN = 0
    """What an admin asked for. No device can cause it, so nothing bounds it."""
    TRANSITION = 1
    """A condition that came to another status or reason."""
    DETAIL = 2
    """Counts, texts, what a device is."""


class Rate(msgspec.Struct, frozen=True):
    """At most `burst` at once, and one in `every` seconds in the long run."""

    every: float
    burst: int


RATES: dict[tuple[Kind, Urgency], Rate] = {
    ("Device", Urgency.TRANSITION): Rate(every=2, burst=10),
    ("Device", Urgency.DETAIL): Rate(every=10, burst=3),
    ("FleetDeployment", Urgency.TRANSITION): Rate(every=1, burst=10),
    ("FleetDeployment", Urgency.DETAIL): Rate(every=1, burst=3),
}
BYTES = Rate(every=1 / 4096, burst=256 * 1024)
"""Bytes of one object that are written: 4 KiB a second."""
_ADMITTED = frozenset({"Enrolled", "Revoked"})
"""Conditions of a device that only an admin moves."""

Status = DeviceStatus | DeploymentStatus


def urgency(before: Status, after: Status) -> Urgency:
    """How urgent it is to replace one status by another."""
    old, new = _standing(before.conditions), _standing(after.conditions)
    if _generations(before) != _generations(after) or any(old.get(name) != new.get(name) for name in _ADMITTED):
        return Urgency.ADMIN
    first_info = isinstance(after, DeviceStatus) and isinstance(before, DeviceStatus) and not before.info and after.info
    return Urgency.TRANSITION if old != new or first_info else Urgency.DETAIL


def _standing(conditions: tuple[Condition, ...]) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in conditions}


def _generations(status: Status) -> object:
    own = status.observed_generation if isinstance(status, DeploymentStatus) else None
    # A condition that was added is a transition, not another generation.
    return own, max((condition.observed_generation for condition in status.conditions), default=0)


def essence(action: object) -> object:
    """The content of a write: two writes that differ only in times have the same."""
    match action:
        case PatchDeviceStatus(name, status):
            return name, status_essence(status)
        case PatchDeploymentStatus(name, status):
            return name, status_essence(status)
        case _:
            return action


def status_essence(status: Status) -> object:
    """A status without its times."""
    conditions = [
        (condition.type, condition.status, condition.reason, condition.message, condition.observed_generation)
        for condition in status.conditions
    ]
    if isinstance(status, DeviceStatus):
        workloads = [msgspec.structs.replace(workload, since="") for workload in status.workloads]
        return conditions, status.info, status.deployments, workloads
    counts = (status.matched, status.updated, status.ready, status.failed)
    return conditions, status.observed_generation, counts, status.images, status.workload_images


class Pace:
    """What each object has used up. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        """Nothing is used up.

        For each object and bound, the time until which what was written is paid for at the long-run rate: the generic
        cell rate algorithm (ITU-T I.371). A time that has passed is the same as none.
        """
        self._paid: dict[tuple[Key, Urgency | None], float] = {}

    def due(self, key: Key, urgency: Urgency) -> float:
        """From when on a write of the object is within its bounds."""
        if urgency is Urgency.ADMIN:
            return 0.0
        return max(self._due(key, urgency, RATES[key[0], urgency]), self._due(key, None, BYTES))

    def _due(self, key: Key, bound: Urgency | None, rate: Rate) -> float:
        return self._paid.get((key, bound), 0.0) - (rate.burst - 1) * rate.every

    def wrote(self, key: Key, urgency: Urgency, size: int, now: float) -> None:
        """The object was written, with `size` bytes."""
        if urgency is not Urgency.ADMIN:
            self._pay(key, urgency, RATES[key[0], urgency].every, now)
            self._pay(key, None, size * BYTES.every, now)

    def _pay(self, key: Key, bound: Urgency | None, seconds: float, now: float) -> None:
        self._paid[key, bound] = max(now, self._paid.get((key, bound), 0.0)) + seconds

    def forget_paid(self, now: float) -> None:
        """Forget the objects whose budgets are full again."""
        self._paid = {bound: until for bound, until in self._paid.items() if until > now}
