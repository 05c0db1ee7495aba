"""What is to be written to Kubernetes: the newest write of each object, the most urgent first."""

from __future__ import annotations

import heapq
import itertools

import msgspec

from fleet.operator.act.pace import Key, Pace, Urgency, essence
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    CarryLabels,
    ClearVolumeOrders,
    PatchDeploymentStatus,
    PatchDeviceStatus,
    RemoveFinalizer,
)

ObjectAction = (
    AddFinalizer | CarryLabels | ClearVolumeOrders | RemoveFinalizer | PatchDeviceStatus | PatchDeploymentStatus
)
OBJECT_ACTIONS = (
    AddFinalizer,
    CarryLabels,
    ClearVolumeOrders,
    RemoveFinalizer,
    PatchDeviceStatus,
    PatchDeploymentStatus,
)

_SOONEST_RETRY = 0.5
_LONGEST_HOLD = 10.0
"""The longest time, in seconds, that details wait while desired states are being written."""


class PendingWrite(msgspec.Struct, frozen=True):
    """A write that is wanted of exactly this object, identified by `uid`, in this `generation`.

    `version` is the resource version of the object that it was decided of.
    """

    action: ObjectAction
    urgency: Urgency
    uid: str
    generation: int
    version: str = ""


class _Trouble(msgspec.Struct):
    failures: int
    tried: float
    until: float


class Queue:
    """Queued writes by object. It does no I/O and has no clock: `now` is in seconds of any monotonic clock."""

    def __init__(self) -> None:
        self.pending: dict[Key, PendingWrite] = {}
        self.under_way: dict[Key, PendingWrite] = {}
        self._places: dict[Key, int] = {}
        self._numbers = itertools.count()
        self._ready: list[tuple[Urgency, bool, int, Key]] = []
        self._later: list[tuple[float, int, Key]] = []
        self._troubles: dict[Key, _Trouble] = {}
        self._unwanted: set[Key] = set()
        self._pace = Pace()
        self._held_until: float | None = None

    def hold_details(self, now: float, *, held: bool) -> None:
        """While it is held, no detail of a device is due; see `_LONGEST_HOLD`."""
        if not held:
            self._held_until = None
        elif self._held_until is None:
            self._held_until = now + _LONGEST_HOLD

    def put(self, key: Key, write: PendingWrite, now: float) -> None:
        """Replace the queued write of an object. A write that differs only in times does not replace the first one."""
        known = self.pending.get(key) or self.under_way.get(key)
        if (
            known
            and key not in self._unwanted
            and essence(known.action) == essence(write.action)
            and known.uid == write.uid
        ):
            return
        self.pending[key] = write
        self._unwanted.discard(key)
        trouble = self._troubles.get(key)
        if trouble and write.urgency is Urgency.ADMIN:
            # What an admin did is tried soon, whatever became of what was wanted before.
            trouble.until = min(trouble.until, trouble.tried + _SOONEST_RETRY)
        if key not in self.under_way:
            self._place(key, now)

    def drop(self, key: Key) -> None:
        """Nothing is wanted of the object any more."""
        self.pending.pop(key, None)
        self._places.pop(key, None)
        if key in self.under_way:
            self._unwanted.add(key)

    def take(self, now: float) -> tuple[Key, PendingWrite] | None:
        """The most urgent write that is due; it is under way from now on."""
        while self._later and self._later[0][0] <= now:
            _, number, key = heapq.heappop(self._later)
            if self._places.get(key) == number:
                self._place(key, now)
        while self._ready:
            urgency, of_device, number, key = self._ready[0]
            if of_device and urgency is Urgency.DETAIL and self._holds(now):
                return None
            heapq.heappop(self._ready)
            if self._places.get(key) == number:
                del self._places[key]
                self.under_way[key] = self.pending.pop(key)
                return key, self.under_way[key]
        return None

    def next_due(self, now: float) -> float | None:
        """When a write becomes due that is not due yet."""
        while self._later and self._places.get(self._later[0][2]) != self._later[0][1]:
            heapq.heappop(self._later)
        moments = [self._later[0][0]] if self._later else []
        if self._ready and self._held_until is not None and self._holds(now):
            moments.append(self._held_until)
        return min(moments, default=None)

    def _holds(self, now: float) -> bool:
        return self._held_until is not None and now < self._held_until

    def wrote(self, key: Key, size: int, now: float) -> bool:
        """The write in progress succeeded, with `size` bytes; returns whether it was still wanted."""
        write = self.under_way.pop(key)
        wanted = key not in self._unwanted
        self._unwanted.discard(key)
        self._troubles.pop(key, None)
        self._pace.wrote(key, write.urgency, size, now)
        self._place_again(key, now)
        return wanted

    def gave_up(self, key: Key, now: float) -> None:
        """The write in progress is obsolete or useless."""
        del self.under_way[key]
        self._unwanted.discard(key)
        self._place_again(key, now)

    def refused(self, key: Key, now: float) -> None:
        """The write in progress was refused, and another one replaces it; the attempt counts as a write."""
        self._pace.wrote(key, self.under_way[key].urgency, 0, now)
        self.gave_up(key, now)

    def failed(self, key: Key, now: float, delay: float) -> None:
        """The write in progress failed; try it again after `delay` seconds, unless there is a newer one."""
        write = self.under_way.pop(key)
        failures = self.failures(key) + 1
        self._troubles[key] = _Trouble(failures, now, now + delay)
        if key not in self._unwanted:
            self.pending.setdefault(key, write)
        self._unwanted.discard(key)
        self._place_again(key, now)

    def failures(self, key: Key) -> int:
        """How often in a row a write of the object failed."""
        trouble = self._troubles.get(key)
        return trouble.failures if trouble else 0

    def tidy(self, now: float) -> None:
        """Forget what does not matter any more."""
        self._pace.forget_paid(now)
        self._troubles = {
            key: trouble for key, trouble in self._troubles.items() if key in self.pending or trouble.until > now
        }

    def _place_again(self, key: Key, now: float) -> None:
        if key in self.pending:
            self._place(key, now)

    def _place(self, key: Key, now: float) -> None:
        write, trouble = self.pending[key], self._troubles.get(key)
        due = max(self._pace.due(key, write.urgency), trouble.until if trouble else 0.0)
        number = self._places[key] = next(self._numbers)
        if due > now:
            heapq.heappush(self._later, (due, number, key))
        else:
            # Of deployments there are few, and people wait for them.
            heapq.heappush(self._ready, (write.urgency, key[0] == "Device", number, key))
