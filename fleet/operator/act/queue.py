"""What is to be written to Kubernetes: the newest wish of each object, the most urgent first."""

from __future__ import annotations

import heapq
import itertools

import msgspec

from fleet.operator.act.pace import Key, Pace, Urgency, essence
from fleet.operator.reconcile.actions import AddFinalizer, PatchDeploymentStatus, PatchDeviceStatus, RemoveFinalizer

ObjectAction = AddFinalizer | RemoveFinalizer | PatchDeviceStatus | PatchDeploymentStatus
OBJECT_ACTIONS = (AddFinalizer, RemoveFinalizer, PatchDeviceStatus, PatchDeploymentStatus)

_SOONEST_RETRY = 0.5


class Wish(msgspec.Struct, frozen=True):
    """A write that is wanted of exactly this object, identified by `uid`, in this `generation`."""

    action: ObjectAction
    urgency: Urgency
    uid: str
    generation: int


class _Trouble(msgspec.Struct):
    failures: int
    tried: float
    until: float


class Queue:
    """Wishes by object. It does no I/O and has no clock: `now` is in seconds of any that does not go back."""

    def __init__(self) -> None:
        """Nothing is wanted."""
        self.wishes: dict[Key, Wish] = {}
        self.under_way: dict[Key, Wish] = {}
        self._places: dict[Key, int] = {}
        self._numbers = itertools.count()
        self._ready: list[tuple[Urgency, bool, int, Key]] = []
        self._later: list[tuple[float, int, Key]] = []
        self._troubles: dict[Key, _Trouble] = {}
        self._unwanted: set[Key] = set()
        self._pace = Pace()

    def want(self, key: Key, wish: Wish, now: float) -> None:
        """Replace what was wanted of an object. What differs only in times stays as it was wanted first."""
        known = self.wishes.get(key) or self.under_way.get(key)
        if (
            known
            and key not in self._unwanted
            and essence(known.action) == essence(wish.action)
            and known.uid == wish.uid
        ):
            return
        self.wishes[key] = wish
        self._unwanted.discard(key)
        trouble = self._troubles.get(key)
        if trouble and wish.urgency is Urgency.ADMIN:
            # What an admin did is tried soon, whatever became of what was wanted before.
            trouble.until = min(trouble.until, trouble.tried + _SOONEST_RETRY)
        if key not in self.under_way:
            self._place(key, now)

    def drop(self, key: Key) -> None:
        """Nothing is wanted of the object any more."""
        self.wishes.pop(key, None)
        self._places.pop(key, None)
        if key in self.under_way:
            self._unwanted.add(key)

    def take(self, now: float) -> tuple[Key, Wish] | None:
        """The most urgent wish that is due; it is under way from now on."""
        while self._later and self._later[0][0] <= now:
            _, number, key = heapq.heappop(self._later)
            if self._places.get(key) == number:
                self._place(key, now)
        while self._ready:
            *_, number, key = heapq.heappop(self._ready)
            if self._places.get(key) == number:
                del self._places[key]
                self.under_way[key] = self.wishes.pop(key)
                return key, self.under_way[key]
        return None

    def next_due(self) -> float | None:
        """When a wish becomes due that is not due yet."""
        while self._later and self._places.get(self._later[0][2]) != self._later[0][1]:
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def wrote(self, key: Key, size: int, now: float) -> None:
        """What was under way was written, with `size` bytes."""
        wish = self.under_way.pop(key)
        self._unwanted.discard(key)
        self._troubles.pop(key, None)
        self._pace.wrote(key, wish.urgency, size, now)
        self._place_again(key, now)

    def gave_up(self, key: Key, now: float) -> None:
        """What was under way is not wanted any more, or of no use."""
        del self.under_way[key]
        self._unwanted.discard(key)
        self._place_again(key, now)

    def refused(self, key: Key, now: float) -> None:
        """What was under way was refused, and something else is wanted instead; the attempt counts like a write."""
        self._pace.wrote(key, self.under_way[key].urgency, 0, now)
        self.gave_up(key, now)

    def failed(self, key: Key, now: float, delay: float) -> None:
        """What was under way failed, and is to be tried again after `delay` seconds, unless something newer is."""
        wish = self.under_way.pop(key)
        failures = self.failures(key) + 1
        self._troubles[key] = _Trouble(failures, now, now + delay)
        if key not in self._unwanted:
            self.wishes.setdefault(key, wish)
        self._unwanted.discard(key)
        self._place_again(key, now)

    def failures(self, key: Key) -> int:
        """How often in a row a write of the object failed."""
        trouble = self._troubles.get(key)
        return trouble.failures if trouble else 0

    def tidy(self, now: float) -> None:
        """Forget what does not matter any more."""
        self._pace.forget_paid(now)
        self._troubles = {key: it for key, it in self._troubles.items() if key in self.wishes or it.until > now}

    def _place_again(self, key: Key, now: float) -> None:
        if key in self.wishes:
            self._place(key, now)

    def _place(self, key: Key, now: float) -> None:
        wish, trouble = self.wishes[key], self._troubles.get(key)
        due = max(self._pace.due(key, wish.urgency), trouble.until if trouble else 0.0)
        number = self._places[key] = next(self._numbers)
        if due > now:
            heapq.heappush(self._later, (due, number, key))
        else:
            # Of deployments there are few, and people wait for them.
            heapq.heappush(self._ready, (wish.urgency, key[0] == "Device", number, key))
