"""Machine keys renewed: look at all devices, take a step for each that is ready, until each is done or must act."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from fleet.contract.errors import FleetError
from fleet.rotation.decide import Goal
from fleet.rotation.devices.decide import Done, Refused, Seen, Step, Wait, decide

_INTERVAL, _LONGEST = 0.3, 5.0
"""Seconds between looks while devices act: for few of them, and for many."""
_MANY = 20
_STEPS = 15
"""Steps for one device: three times those of a rotation. One that offers another key at each look would never end."""

Progress = Callable[[str], None]


class Ground(Protocol):
    """Devices' keys where they are."""

    def look(self, devices: Sequence[str]) -> dict[str, Seen]:
        """What is in use now."""
        ...

    def take(self, device: str, seen: Seen, step: Step) -> None:
        """Take a step that was decided on what was seen."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """How it ended for one device; `why` says why it is not done, and is empty where it is.

    `awaits_device` says that nothing else than the device is lacking.
    """

    device: str
    key: str
    acted: bool
    why: str = ""
    awaits_device: bool = False


class _Failed(Wait, frozen=True):
    """A step was refused; it may be taken later."""


def drive(
    ground: Ground, devices: Sequence[str], goal: Goal, *, timeout: float, progress: Progress, check: Callable[[], None]
) -> list[Outcome]:
    """Go on until every device is done, or none has done anything for `timeout` seconds.

    `check` raises once somebody else may be at work. What one device is refused harms no other.

    Raises:
        FleetError: NATS or the identity provider does not answer at all.
    """
    begun: dict[str, bool] = {}
    acted = Counter[str]()
    ended: dict[str, Outcome] = {}
    waiting: dict[str, Wait] = {}
    deadline = time.monotonic() + timeout
    while left := [device for device in devices if device not in ended]:
        for device, seen in ground.look(left).items():
            step = decide(seen, goal, begin=begun.setdefault(device, seen.order is not None) is False)
            if isinstance(step, Step) and acted[device] >= _STEPS:
                step = Refused(
                    f"it is not done after {_STEPS} steps, for what it says changes each time: "
                    f"its agent is not ours, or it was stolen (`fleet device revoke {device}`)"
                )
            if isinstance(step, Step):
                check()
                step = _taken(ground, device, seen, step, progress)
            if isinstance(step, Step):
                begun[device] = True
                acted[device] += 1
                deadline = time.monotonic() + timeout
            elif isinstance(step, Wait):
                _tell(device, step, waiting, progress)
            else:
                why = step.why if isinstance(step, Refused) else ""
                ended[device] = Outcome(device, seen.used, device in acted, why)
        if time.monotonic() > deadline:
            late = {device: _late(device, device in acted, waiting.get(device)) for device in left}
            return [ended.get(device) or late[device] for device in devices]
        if left:
            time.sleep(min(_LONGEST, _INTERVAL * (1 + len(left) / _MANY)))
    return [ended[device] for device in devices]


def foretell(seen: Seen, goal: Goal) -> str:
    """What would be done, in words."""
    step = decide(seen, goal, begin=True)
    if isinstance(step, Step):
        return f"it would begin here: {step.value}"
    return "nothing would be done" if isinstance(step, Done) else step.why


def _late(device: str, acted: bool, wait: Wait | None) -> Outcome:
    if wait is None:
        return Outcome(device, "", acted, "its time was up before it was looked at again")
    return Outcome(device, "", acted, wait.why, not isinstance(wait, _Failed))


def _taken(ground: Ground, device: str, seen: Seen, step: Step, progress: Progress) -> Step | Wait:
    progress(f"{device}: {step.value}")
    try:
        ground.take(device, seen, step)
    except FleetError as error:
        return _Failed(error.what)
    return step


def _tell(device: str, wait: Wait, waiting: dict[str, Wait], progress: Progress) -> None:
    if waiting.get(device) != wait:
        progress(f"{device}: waiting: {wait.why}")
    waiting[device] = wait
