"""The good path, on which every row of the matrix stands."""

from __future__ import annotations

from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from tests.upgrade.matrix.conftest import NEW, OLD, MakeLab


def test_upgrade_and_back(lab: MakeLab) -> None:
    device = lab(NEW)
    device.order(NEW)
    status = device.ends(UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED)
    assert (status.committed, status.previous) == (NEW, OLD)
    device.runs(NEW)
    device.judge()
    device.order(OLD)
    device.ends(UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(OLD)
    device.judge()
