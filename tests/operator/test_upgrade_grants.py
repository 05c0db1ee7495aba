"""Every grant of the upgrade lock has an end by the operator's own clock, whatever the device says."""

from __future__ import annotations

import msgspec
import pytest

from fleet.contract.config import UpgradeRules
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget
from fleet.operator.upgrade.decide import decide
from fleet.operator.upgrade.guards import failed
from fleet.operator.upgrade.view import Artifact, DeviceView, FleetView

NEW, DIGEST = AgentVersion("v0.2.0"), Digest("sha256:" + "2" * 64)


def device(phase: UpgradePhase, *, granted: bool) -> DeviceView:
    status = UpgradeStatus(1, phase, UpgradeReason.IN_PROGRESS, candidate=NEW)
    return DeviceView(NEW, target=AgentTarget(NEW, DIGEST, 1, size=1, granted=granted), status=status)


def given(first: DeviceView) -> tuple[bool, str]:
    """Whether the second device gets the lock, and what is told of the first."""
    views = {"pi-1": first, "pi-2": device(UpgradePhase.SELF_TESTED, granted=False)}
    decisions = decide(FleetView(views, {NEW: Artifact(DIGEST, 1)}))
    target, claim = decisions["pi-2"].target, decisions["pi-1"].condition
    return target is not None and target.granted, claim.reason if claim else ""


@pytest.mark.parametrize("phase", [phase for phase in UpgradePhase if not phase.terminal])
@pytest.mark.parametrize("granted", [True, False])
def test_a_device_that_never_ends_keeps_nobody_waiting(phase: UpgradePhase, granted: bool) -> None:
    stuck = msgspec.structs.replace(device(phase, granted=granted), grant_over=True)
    assert given(stuck) == (True, "GrantExpired")


def overdue(phase: UpgradePhase, **changes: object) -> DeviceView:
    return msgspec.structs.replace(device(phase, granted=True), grant_over=True, **changes)


def led(view: DeviceView) -> tuple[AgentTarget, str, str]:
    """The device's order, and the reason and the message of its condition."""
    decision = decide(FleetView({"pi-1": view}, {NEW: Artifact(DIGEST, 1)}))["pi-1"]
    target = decision.target or view.target
    assert target is not None
    assert decision.condition is not None
    return target, decision.condition.reason, decision.condition.message


@pytest.mark.parametrize("phase", [phase for phase in UpgradePhase if not phase.terminal])
def test_it_is_told_to_turn_back_wherever_it_is(phase: UpgradePhase) -> None:
    target, reason, message = led(overdue(phase))
    assert (target.withdrawn, target.expired, target.granted) == (True, True, False)
    assert (reason, phase.value in message) == ("GrantExpired", True)


def test_that_outlives_the_operator_and_is_not_ordered_again() -> None:
    target, *_ = led(overdue(UpgradePhase.SOAKING))
    for phase in (UpgradePhase.SOAKING, UpgradePhase.SELF_TESTED, UpgradePhase.REVERTED):
        why = UpgradeReason.WITHDRAWN if phase.terminal else UpgradeReason.IN_PROGRESS
        known = UpgradeStatus(1, phase, why, candidate=NEW)
        later = DeviceView(NEW, target=target, status=known, grant_over=False)
        assert led(later)[:2] == (target, "GrantExpired")
        assert failed(later)
    assert "turned back" in led(later)[2]


def test_one_that_was_killed_and_knows_of_no_attempt_is_no_riddle() -> None:
    target, *_ = led(overdue(UpgradePhase.STAGED))
    assert led(DeviceView(NEW, target=target)) == (
        target,
        "GrantExpired",
        "it held the upgrade lock too long, and got the order to go back; it never reported this attempt",
    )


def test_one_that_was_quicker_than_the_order_to_turn_back_is_told_as_upgraded() -> None:
    target, *_ = led(overdue(UpgradePhase.SOAKING))
    known = UpgradeStatus(1, UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED, candidate=NEW)
    later = DeviceView(NEW, target=target, status=known)
    assert led(later)[:2] == (target, "Confirmed")
    assert not failed(later)


def test_ordered_again_it_begins_anew() -> None:
    target, *_ = led(overdue(UpgradePhase.SOAKING))
    again, *_ = led(DeviceView(NEW, order=1, target=target))
    assert (again.generation, again.expired, again.withdrawn) == (2, False, False)


def test_before_that_the_others_wait() -> None:
    assert not given(device(UpgradePhase.SOAKING, granted=True))[0]


def test_an_attempt_that_held_the_lock_too_long_counts_as_failed() -> None:
    """A version that hangs halts its rollout as one that crashes does."""
    stuck = msgspec.structs.replace(device(UpgradePhase.SOAKING, granted=True), grant_over=True)
    waiting = device(UpgradePhase.SELF_TESTED, granted=False)

    def reason(number: int) -> str:
        views = {f"pi-{place}": stuck for place in range(number)} | {"pi-9": waiting}
        claim = decide(FleetView(views, {NEW: Artifact(DIGEST, 1)}, UpgradeRules(abort_after=2))).pop("pi-9").condition
        return claim.reason if claim else ""

    assert reason(1) != "RolloutHalted"
    assert reason(2) == "RolloutHalted"


def test_an_attempt_that_was_withdrawn_does_not_count_as_failed() -> None:
    stuck = msgspec.structs.replace(device(UpgradePhase.SOAKING, granted=True), grant_over=True)
    assert failed(stuck)
    assert stuck.target
    withdrawn = msgspec.structs.replace(stuck, target=msgspec.structs.replace(stuck.target, withdrawn=True))
    assert not failed(withdrawn)
