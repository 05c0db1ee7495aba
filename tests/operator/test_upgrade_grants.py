"""Every grant of the upgrade lock has an end by the operator's own clock, whatever the device says."""

from __future__ import annotations

import msgspec
import pytest

from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget
from fleet.operator.upgrade.decide import decide
from fleet.operator.upgrade.view import Artifact, DeviceView, FleetView

NEW, DIGEST = AgentVersion("v0.2.0"), Digest("sha256:" + "2" * 64)


def device(phase: UpgradePhase, *, granted: bool) -> DeviceView:
    status = UpgradeStatus(1, phase, UpgradeReason.IN_PROGRESS, candidate=NEW)
    return DeviceView(NEW, target=AgentTarget(NEW, DIGEST, 1, size=1, granted=granted), status=status)


def given(first: DeviceView) -> tuple[bool, str]:
    """Whether the second device gets the lock, and what is told of the first."""
    views = {"pi-1": first, "pi-2": device(UpgradePhase.SELF_TESTED, granted=False)}
    decisions = decide(FleetView(views, {NEW: Artifact(DIGEST, 1)}))
    target, claim = decisions["pi-2"].target, decisions["pi-1"].claim
    return target is not None and target.granted, claim.reason if claim else ""


@pytest.mark.parametrize("phase", [phase for phase in UpgradePhase if not phase.terminal])
@pytest.mark.parametrize("granted", [True, False])
def test_a_device_that_never_ends_keeps_nobody_waiting(phase: UpgradePhase, granted: bool) -> None:
    stuck = msgspec.structs.replace(device(phase, granted=granted), grant_over=True)
    assert given(stuck) == (True, "GrantExpired")


def test_before_that_the_others_wait() -> None:
    assert not given(device(UpgradePhase.SOAKING, granted=True))[0]
