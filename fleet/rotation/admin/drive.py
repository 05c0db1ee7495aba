"""An admin's token renewed: look, decide, act, until it is done or the identity provider has to catch up first."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from fleet.contract.errors import NotPermitted, TimedOut
from fleet.rotation.admin.decide import Done, Refused, Seen, Step, Wait, decide
from fleet.rotation.decide import Goal
from fleet.rotation.drive import Progress

_INTERVAL = 0.3
"""Seconds between looks while the provider catches up."""


class Ground(Protocol):
    """An admin's token where it is kept and used."""

    def look(self) -> Seen:
        """What is so now; the next `take` is decided on it."""
        ...

    def take(self, step: Step) -> None:
        """Take a step."""
        ...


def drive(ground: Ground, goal: Goal, *, timeout: float, progress: Progress, check: Callable[[], None]) -> bool:
    """Go on until done, and return whether anything was; the provider has `timeout` seconds to catch up with each step.

    `check` raises once somebody else may be at work.

    Raises:
        NotPermitted: it goes no further that way.
        TimedOut: the provider did not catch up.
        FleetError: the provider does not answer or refuses, or a file cannot be read or written.
    """
    seen = ground.look()
    begin, told, deadline = not seen.begun, "", time.monotonic() + timeout
    last: Step | None = None
    while not isinstance(step := decide(seen, goal, begin=begin), Done):
        if isinstance(step, Refused):
            raise NotPermitted(step.why, next_step="repeat the command without --abort")
        if isinstance(step, Step):
            if step is last:  # the provider still shows what the step has changed
                told = _wait(Wait("the identity provider has not caught up yet"), told, deadline, progress)
            else:
                progress(step.value)
                deadline = time.monotonic() + timeout
            check()
            ground.take(step)
            begin, last = False, step
        else:
            told = _wait(step, told, deadline, progress)
        seen = ground.look()
    return last is not None


def foretell(seen: Seen, goal: Goal) -> str:
    """What would be done, in words."""
    step = decide(seen, goal, begin=not seen.begun)
    if isinstance(step, Step):
        return f"it would {'go on' if seen.begun else 'begin'} here: {step.value}"
    return "nothing would be done" if isinstance(step, Done) else step.why


def _wait(step: Wait, told: str, deadline: float, progress: Progress) -> str:
    if step.why != told:
        progress(f"waiting: {step.why}")
    if time.monotonic() > deadline:
        raise TimedOut(
            step.why,
            next_step="repeat the command: it goes on from here; or go back with --abort while the old token works. "
            "Was --token-id that of another token?",
        )
    time.sleep(_INTERVAL)
    return step.why
