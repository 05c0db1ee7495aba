"""A release key followed by another one: look, decide, act, until it is done or devices have to act first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

from fleet.contract.errors import NotPermitted
from fleet.rotation.decide import Goal
from fleet.rotation.drive import Driven, Progress, named
from fleet.rotation.release.decide import Done, Refused, Seen, Step, Wait, decide

_INTERVAL, _LONGEST, _MANY = 0.2, 5.0, 20
"""Seconds between looks while devices act: for few of them, and for many."""


class Ground(Protocol):
    """Lists of release keys where they are kept and used; `old` and `new` are the ids of the keys."""

    old: str
    new: str

    def look(self) -> Seen:
        """What is in use now; the next `take` is decided on it."""
        ...

    def take(self, step: Step) -> None:
        """Take a step.

        Raises:
            Conflict: a list has changed since the look.
        """
        ...


def drive(ground: Ground, goal: Goal, *, timeout: float, progress: Progress, check: Callable[[], None]) -> Driven:
    """Go on until done, or until no further device took the list for `timeout` seconds; those without are named then.

    What one of them says of itself may change without end: it beats, its agent is none of ours, or it was stolen.

    `check` raises once somebody else may be at work.

    Raises:
        NotPermitted: it goes no further that way.
        Conflict: somebody else was at work in the same moment; a repeat goes on.
        FleetError: NATS does not answer, or a file cannot be read or written.
    """
    acted, told, deadline = False, "", time.monotonic() + timeout
    fewest = math.inf
    while True:
        step = _step(ground, goal)
        if isinstance(step, Done):
            return Driven(acted)
        if isinstance(step, Step):
            check()
            progress(step.value)
            ground.take(step)
            acted, deadline, fewest = True, time.monotonic() + timeout, math.inf
            continue
        said = named(step.blockers)
        if said != told:
            progress(f"waiting: {said}")
            told = said
        if len(step.blockers) < fewest:
            fewest, deadline = len(step.blockers), time.monotonic() + timeout
        if time.monotonic() > deadline:
            return Driven(acted, said)
        time.sleep(min(_LONGEST, _INTERVAL * (1 + len(step.blockers) / _MANY)))


def foretell(ground: Ground, goal: Goal) -> str:
    """What would be done, in words."""
    step = _step(ground, goal)
    if isinstance(step, Step):
        return f"it would go on here: {step.value}"
    return "nothing would be done" if isinstance(step, Done) else f"it waits: {named(step.blockers)}"


def _step(ground: Ground, goal: Goal) -> Step | Wait | Done:
    step = decide(ground.look(), ground.old, ground.new, goal)
    if isinstance(step, Refused):
        raise NotPermitted(step.why, next_step=step.next_step)
    return step
