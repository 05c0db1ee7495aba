"""Rows 7-10, 17-22, 29, 46: the swap, the candidate's first steps, and a way back from each."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from harness.wait import wait_until
from harness.world.world import World
from tests.upgrade.matrix.conftest import NEW, OLD, MakeLab, Publish
from tests.upgrade.matrix.faulty import CRASHES, SILENT, faulty

pytestmark = pytest.mark.matrix

COMMITTED, REVERTED = UpgradePhase.COMMITTED, UpgradePhase.REVERTED


def test_row_07_power_loss_before_the_rename(lab: MakeLab) -> None:
    device = lab(NEW)
    device.host.power_off()
    device.disk.store.new_link.symlink_to("/nowhere")
    device.host.power_on()
    device.await_online()
    assert device.units() == [OLD]
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    assert not device.disk.store.new_link.is_symlink(), "the left-over link is still there"
    device.judge(silence=None)


def test_row_08_power_loss_before_the_folder_is_on_disk(lab: MakeLab) -> None:
    """The journal names the candidate, and the link came back as the old one."""
    device = lab(NEW)
    device.order(NEW)
    device.reports(UpgradePhase.STARTING)
    device.host.power_off()
    assert device.disk.linked in {OLD, NEW}
    device.disk.store.link.unlink()
    device.disk.store.link.symlink_to(f"../../../var/lib/fleet/agent/versions/{OLD}/fleet-agent")
    device.host.power_on()
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)


def test_row_09_power_loss_before_commit(lab: MakeLab, published: Publish, tmp_path: Path) -> None:
    """A candidate that works is taken; one that does not gets its tries, and the committed one comes back."""
    device = lab(NEW)
    device.order(NEW)
    device.reports(UpgradePhase.STARTING)
    device.host.power_off()
    device.host.power_on()
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)
    bad = faulty(published, tmp_path, SILENT)
    device.order(bad)
    device.phase("starting", NEW)
    device.host.power_off()
    device.host.power_on()
    device.ends_badly()
    device.runs(NEW)
    device.judge(silence=None)


def test_row_10_zero_length_after_a_crash(lab: MakeLab) -> None:
    device = lab(NEW)
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.host.power_off()
    device.disk.store.artifact(NEW).write_bytes(b"")
    device.host.power_on()
    device.runs(OLD)
    outcome = device.journal().outcome
    assert outcome is not None
    assert outcome.reason is UpgradeReason.COMMITTED_DAMAGED
    device.await_online()
    device.says("CommittedDamaged")
    device.judge(silence=None)


def test_row_17_version_removed_before_the_swap(lab: MakeLab) -> None:
    device = lab(NEW)
    device.order(NEW)
    device.phase("testing")
    device.wait_for_tested()
    device.disk.store.home(NEW).rename(device.disk.store.folder / "moved-away")
    device.ends(REVERTED, UpgradeReason.LINK_MISSING)
    assert device.units() == [OLD]
    device.judge()


def test_row_18_candidate_crashes_at_once(lab: MakeLab, published: Publish, tmp_path: Path) -> None:
    device = lab()
    bad = faulty(published, tmp_path, CRASHES)
    device.order(bad)
    device.ends(REVERTED, UpgradeReason.CANDIDATE_CRASHED)
    assert device.journal().bad[0].release.version == bad, "it is not remembered"
    device.runs(OLD)
    assert device.starts(OLD) == 1, "the old agent did not stay"
    device.judge()
    device.order(bad)
    device.ends(UpgradePhase.REFUSED, UpgradeReason.BAD_VERSION)


def test_row_19_candidate_cannot_reach_nats(lab: MakeLab, published: Publish, tmp_path: Path) -> None:
    device = lab(heartbeat=4)
    device.order(faulty(published, tmp_path, SILENT))
    device.ends(REVERTED, UpgradeReason.CANDIDATE_NOT_CONNECTED)
    device.runs(OLD)
    device.judge()


def test_row_19_nats_is_down_for_both(lab: MakeLab, fleet_world: World) -> None:
    """That is no fault of the candidate: both hold, for longer than the deadline."""
    device = lab(NEW, heartbeat=10)
    device.order(NEW)
    device.phase("linking")
    fleet_world.stop("nats")
    try:
        device.logged(OLD, '"phase": "starting"')
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 21, "the deadline has passed twice", timeout=30)
        assert NEW in device.units()
        assert OLD in device.units()
    finally:
        fleet_world.start("nats")
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)


def test_row_20_candidate_reports_a_wrong_version(lab: MakeLab, published: Publish, tmp_path: Path) -> None:
    device = lab(heartbeat=20)
    device.order(faulty(published, tmp_path, SILENT))
    device.phase("starting")
    device.beat_as_candidate(AgentVersion("v7.7.7"))
    device.ends(REVERTED, UpgradeReason.CANDIDATE_WRONG_VERSION)
    assert device.target
    assert not device.target.stop_instance, "the old agent was ordered to stop"
    device.judge()


def test_row_21_stale_heartbeat_of_the_right_version(lab: MakeLab, published: Publish, tmp_path: Path) -> None:
    """Of another boot: it proves nothing."""
    device = lab(heartbeat=4)
    bad = faulty(published, tmp_path, SILENT)
    device.order(bad)
    device.phase("starting")
    device.beat_as_candidate(bad, boot="an-earlier-boot")
    device.ends(REVERTED, UpgradeReason.CANDIDATE_NOT_CONNECTED)
    assert device.target
    assert not device.target.stop_instance, "the old agent was ordered to stop"
    device.judge()


def test_row_22_degrades_in_soak(lab: MakeLab) -> None:
    device = lab(NEW, patience=0.05)
    device.deploy("frail", restart="no")
    device.await_running("frail")
    device.order(NEW)
    device.reports(UpgradePhase.SOAKING)
    device.kill_container("frail")
    device.ends(REVERTED, UpgradeReason.DEGRADED)
    device.runs(OLD)
    device.judge()


def test_row_29_old_agent_killed_early(lab: MakeLab) -> None:
    device = lab(NEW)
    device.order(NEW)
    device.reports(UpgradePhase.STARTING)
    device.signal(OLD, signal.SIGKILL)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(NEW)
    device.judge()


def test_row_46_package_manager_touches_the_link(lab: MakeLab) -> None:
    """A file of somebody else where the link was: it is not overwritten, and the agent that runs goes on."""
    device = lab(NEW)
    device.disk.store.link.unlink()
    device.disk.store.link.write_bytes(b"#!/bin/sh\n# of a package\n")
    device.order(NEW)
    device.ends(REVERTED, UpgradeReason.LINK_MISSING)
    assert device.disk.store.link.read_bytes() == b"#!/bin/sh\n# of a package\n"
    assert device.units() == [OLD]
    device.disk.store.link.unlink()
    device.disk.disk.point_link(device.journal().committed)
    device.judge()
