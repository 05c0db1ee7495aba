"""The operator's side of the protocol: from everything known at one moment to each device's order and condition.

It remembers nothing between two calls. Whatever was lost, interrupted or overtaken is found again by looking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum

import msgspec

from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from fleet.contract.wire import AgentTarget
from fleet.operator.new_condition import NewCondition
from fleet.operator.upgrade.guards import (
    answers,
    ended,
    failed,
    holds_lock,
    impostor,
    lapsed,
    overdue,
    reported,
    to_confirm,
    to_stop,
    waits_for_lock,
)
from fleet.operator.upgrade.view import Artifact, Decision, DeviceView, FleetView

CONDITION = "Upgraded"
GRANT_EXPIRED = "GrantExpired"
"""The reason of an attempt that held the scheduling lock too long."""


class Standing(Enum):
    """What there is to do about one device."""

    NOTHING = "nothing"
    """No version is wanted, or the device is barred."""
    WITHDRAW = "withdraw"
    """A version was ordered that is not wanted any more."""
    UNKNOWN_VERSION = "unknown version"
    BEGIN = "begin"
    """What is wanted was not ordered yet."""
    LEAD = "lead"
    """An attempt at it is under way."""
    ENDED = "ended"


def standing(view: DeviceView, published: Mapping[AgentVersion, Artifact]) -> Standing:
    """Where a device stands; the rules are tried in order."""
    target = view.target
    if view.barred:
        return Standing.NOTHING
    if view.wanted is None:
        over = target is None or target.withdrawn or ended(view)
        return Standing.NOTHING if over else Standing.WITHDRAW
    artifact = published.get(view.wanted)
    if target is not None and answers(target, view, artifact):
        return Standing.ENDED if ended(view) else Standing.LEAD
    return Standing.UNKNOWN_VERSION if artifact is None else Standing.BEGIN


def decide(fleet: FleetView) -> dict[str, Decision]:
    """What each device's order and condition must be. The scheduling lock is given out in the order of names."""
    free = fleet.rules.at_once - sum(holds_lock(view) for view in fleet.devices.values())
    halted = _halted(fleet)
    decisions: dict[str, Decision] = {}
    for name in sorted(fleet.devices):
        view = fleet.devices[name]
        decision = decide_device(fleet, view, may_begin=free > 0, halted=view.wanted in halted)
        free -= decision.target is not None and decision.target.granted and not given(view)
        decisions[name] = decision
    return decisions


def decide_device(fleet: FleetView, view: DeviceView, *, may_begin: bool, halted: bool) -> Decision:
    """What one device's order and condition must be.

    `may_begin` says whether there is a place for one more, `halted` that too many failed with the version it wants.
    `fleet.devices` is not looked at.
    """
    stand = standing(view, fleet.published)
    target = _with_number(view, _target(view, stand, fleet, may_begin=may_begin and not halted))
    claim = _condition(view, stand, fleet, halted=halted)
    return Decision(None if target == view.target else target, claim)


def given(view: DeviceView) -> bool:
    """Whether the device was given the scheduling lock for its present attempt."""
    return view.target is not None and view.target.granted


def would_begin(view: DeviceView, published: Mapping[AgentVersion, Artifact]) -> bool:
    """Whether the device takes the scheduling lock if there is a place for it."""
    return not given(view) and waits_for_lock(view) and standing(view, published) is Standing.LEAD


def failure(view: DeviceView) -> AgentVersion | None:
    """The version that the device failed with, if it did."""
    return view.target.version if view.target and failed(view) else None


def _halted(fleet: FleetView) -> frozenset[AgentVersion]:
    failures = Counter(version for view in fleet.devices.values() if (version := failure(view)))
    return frozenset(version for version, count in failures.items() if count >= fleet.rules.abort_after)


def _target(view: DeviceView, stand: Standing, fleet: FleetView, *, may_begin: bool) -> AgentTarget | None:
    match stand:
        case Standing.BEGIN if view.wanted is not None:
            return _begin(view, view.wanted, fleet.published[view.wanted])
        case Standing.WITHDRAW if view.target is not None:
            return msgspec.structs.replace(view.target, withdrawn=True)
        case Standing.LEAD if view.target is not None:
            return _lead(view, view.target, fleet.rules.soak, may_begin=may_begin)
        case _:
            return view.target


def _with_number(view: DeviceView, target: AgentTarget | None) -> AgentTarget | None:
    """How many versions are kept is no part of an attempt: it reaches a device whose attempt is over, too."""
    if target is None or view.barred:
        return target
    return msgspec.structs.replace(target, versions_kept=view.versions_kept)


def _begin(view: DeviceView, wanted: AgentVersion, artifact: Artifact) -> AgentTarget:
    known = [view.target.generation if view.target else 0, view.status.generation if view.status else 0]
    return AgentTarget(
        version=wanted,
        digest=artifact.digest,
        generation=1 + max(known),
        size=artifact.size,
        order=view.order,
    )


def _lead(view: DeviceView, target: AgentTarget, soak: float, *, may_begin: bool) -> AgentTarget:
    if overdue(view):
        # One that comes back from wherever it was finds this, and turns back, also past the swap.
        return msgspec.structs.replace(target, granted=False, withdrawn=True, expired=True)
    granted = not lapsed(view) if target.granted else may_begin and waits_for_lock(view)
    return msgspec.structs.replace(
        target,
        granted=granted,
        stop_instance=to_stop(view, target) or target.stop_instance,
        confirmed=to_confirm(view, target, soak) or target.confirmed,
    )


def _condition(view: DeviceView, stand: Standing, fleet: FleetView, *, halted: bool) -> NewCondition | None:
    match stand:
        case Standing.UNKNOWN_VERSION:
            what = f"{view.wanted} is not published: run `fleet agent publish`"
            return NewCondition(CONDITION, "False", UpgradeReason.UNKNOWN_VERSION.value, what)
        case Standing.WITHDRAW | Standing.NOTHING if view.target is None or not ended(view):
            what = "no agent version is wanted any more"
            return NewCondition(CONDITION, "Unknown", "NotWanted", what) if view.target else None
        case Standing.BEGIN:
            return _ordered(view)  # what the device reported is about an earlier order
        case Standing.LEAD if view.target and (beat := impostor(view, view.target)):
            what = f"the candidate says {beat.agent_version}, not {view.target.version}"
            return NewCondition(CONDITION, "False", UpgradeReason.CANDIDATE_WRONG_VERSION.value, what)
        case Standing.LEAD if halted and waits_for_lock(view):
            what = f"{fleet.rules.abort_after} devices failed with {view.wanted}: no further one begins"
            return NewCondition(CONDITION, "False", "RolloutHalted", what)
        case _:
            return _as_reported(view)


def _ordered(view: DeviceView) -> NewCondition:
    reason, what = ("Ordered", "waiting for the device") if view.online else ("DeviceOffline", "waiting for it")
    return NewCondition(CONDITION, "False", reason, what)


def _as_reported(view: DeviceView) -> NewCondition:
    status, phase = view.status, reported(view)
    if overdue(view) and not ended(view):
        last = f"it was last heard of at {phase.value}" if phase is not None else "it never reported this attempt"
        what = f"it held the upgrade lock too long, and got the order to go back; {last}"
        return NewCondition(CONDITION, "False", GRANT_EXPIRED, what)
    if status is None or phase is None:
        return _ordered(view)
    if overdue(view) and status.reason is UpgradeReason.WITHDRAWN:
        what = "it held the upgrade lock too long, and turned back; order it again"
        return NewCondition(CONDITION, "False", GRANT_EXPIRED, what)
    what = f"{status.candidate}: {phase.value}" + (f": {status.message}" if status.message else "")
    reason = phase.value if status.reason is UpgradeReason.IN_PROGRESS else status.reason.value
    return NewCondition(CONDITION, "True" if phase is UpgradePhase.COMMITTED else "False", reason, what)
