"""A rotation carried out: look, decide, act, until it is done or somebody else has to act first."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from fleet.contract.errors import Conflict, TimedOut
from fleet.rotation.decide import Apply, Done, Goal, Seen, begun, decide
from fleet.rotation.look import DEVICE
from fleet.secrets.store import Change

_INTERVAL, _LONGEST = 0.2, 5.0
"""Seconds between looks while parts take up what was applied: with few blockers, and with many."""
_NAMED = 10
"""Blockers that are named."""
PATIENCE = 10.0
"""Seconds for devices that are there to take up a step; one that needs longer is waited for when that is asked for."""

Progress = Callable[[str], None]


class Ground(Protocol):
    """A secret where it is kept and used."""

    def look(self) -> Seen:
        """What is in use now; the next `change` is decided on it."""
        ...

    def change(self, change: Change) -> None:
        """Take a step in the store.

        Raises:
            Conflict: the store has changed since the look.
            LeaseLost: another rotation may have begun.
        """
        ...

    def apply(self) -> None:
        """Bring the parts that are ours to what the store has; parts elsewhere take it up by themselves."""
        ...


class Driven(msgspec.Struct, frozen=True):
    """How far it came: whether anything was done, and in words which devices it did not wait for; empty at its end."""

    acted: bool
    left: str = ""


def drive(ground: Ground, goal: Goal, *, timeout: float, wait: bool, progress: Progress) -> Driven:
    """Go on until done; without `wait`, no longer than `PATIENCE` for devices.

    Raises:
        LeaseLost: another rotation may have begun.
        TimedOut: parts lack something for longer than `timeout` seconds; names them.
    """
    seen = ground.look()
    begin, acted, applied, shown = not begun(seen), False, None, ""
    since = time.monotonic()
    while not isinstance(step := decide(seen, goal, begin=begin), Done):
        if isinstance(step, Change):
            begin = False
            progress(_SAID[step])
            try:
                ground.change(step)
            except Conflict as error:
                progress(f"{error.what}: looking again")
            acted, since = True, time.monotonic()
        elif applied != seen.versions:
            progress("applying what the store has")
            ground.apply()
            acted, applied, since = True, seen.versions, time.monotonic()
        elif not wait and _lacks_devices_alone(step) and time.monotonic() - since > PATIENCE:
            return Driven(acted, f"{named(step.blockers)}; {_without_devices(seen, step)}")
        else:
            shown = _wait(seen, step, shown, since + timeout, progress)
        seen = ground.look()
    return Driven(acted)


def foretell(seen: Seen, goal: Goal) -> str:
    """What would be done, in words."""
    step = decide(seen, goal, begin=not begun(seen))
    if isinstance(step, Done):
        return "nothing would be done"
    if isinstance(step, Apply):
        return f"it would go on once this is so: {named(step.blockers)}"
    return f"it would begin here: {_SAID[step]}"


_SAID = {
    Change.STAGE: "a new version is made, and kept beside the current one",
    Change.PROMOTE: "the new version takes the place of the old one, which stays honoured",
    Change.RETIRE: "the old version is taken away",
    Change.DEMOTE: "the old version takes its place again",
    Change.DROP: "the new version is taken away",
}


def _without_devices(seen: Seen, step: Apply) -> str:
    """What to do where only devices are missing."""
    if _retired(seen):
        return (
            "nothing else has the old version, so the command need not be repeated: once they have taken note, it "
            "would begin another rotation"
        )
    return f"repeat the command once they are there{_left(step)}"


def _retired(seen: Seen) -> bool:
    """Whether the store has one version: what parts elsewhere take up now, they take up without us."""
    return not (seen.versions.next or seen.versions.previous)


def _lacks_devices_alone(step: Apply) -> bool:
    return all(blocker.startswith(DEVICE) for blocker in step.blockers)


def _left(step: Apply) -> str:
    devices = any(blocker.startswith(DEVICE) for blocker in step.blockers)
    return ", or on without a device with --leave-behind DEVICE" if devices else ""


def named(blockers: Sequence[str]) -> str:
    """Who blocks: the first ones, and how many more there are."""
    more = len(blockers) - _NAMED
    return "; ".join([*blockers[:_NAMED], *([f"and {more} more"] if more > 0 else [])])


def _wait(seen: Seen, step: Apply, shown: str, deadline: float, progress: Progress) -> str:
    blockers = named(step.blockers)
    if blockers != shown:
        progress(f"waiting: {blockers}")
    if time.monotonic() > deadline:
        if _retired(seen) and _lacks_devices_alone(step):
            raise TimedOut(f"the rotation waits: {blockers}", next_step=_without_devices(seen, step))
        raise TimedOut(
            f"the rotation waits: {blockers}",
            next_step=f"mend it, then repeat the command: it goes on from here; or go back with --abort{_left(step)}",
        )
    # Devices may be many, and each look asks about all of them.
    time.sleep(min(_LONGEST, _INTERVAL * (1 + len(step.blockers) / _NAMED)))
    return blockers
