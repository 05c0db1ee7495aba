"""Rows 23-28, 30-33, 40, 45: two agents alive, one of which writes, until the operator has decided."""

from __future__ import annotations

import signal

import msgspec
import pytest

from fleet.contract.buckets import AGENT_TARGET, DESIRED_INDEX, DESIRED_STATE
from fleet.contract.upgrade import EXIT_DONE, UpgradePhase, UpgradeReason
from fleet.contract.wire import Container, Desired, DesiredIndex
from harness.images import IMAGE
from harness.wait import wait_until
from harness.world.world import World
from tests.upgrade.matrix.conftest import NEW, OLD, MakeLab
from tests.upgrade.matrix.lab import Lab

pytestmark = pytest.mark.matrix

COMMITTED = UpgradePhase.COMMITTED


def both_alive(lab: MakeLab, world: World, **limits: float) -> Lab:
    """A device in the middle of a hand-over, with nobody who could order the old agent to stop."""
    device = lab(NEW, **limits)
    device.order(NEW)
    device.reports(UpgradePhase.SWAPPED, UpgradePhase.STARTING)
    world.stop("operator")
    return device


def test_row_23_control_plane_restarts(lab: MakeLab, fleet_world: World) -> None:
    device = lab(NEW)
    device.order(NEW)
    device.reports(UpgradePhase.STARTING)
    fleet_world.kill("kube-apiserver")
    fleet_world.kill("operator")
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge()


def test_row_24_operator_dies_between_heartbeat_and_stop(lab: MakeLab, fleet_world: World) -> None:
    device = both_alive(lab, fleet_world)
    try:
        device.candidate_heard()
        assert device.units() == [OLD, NEW]
    finally:
        fleet_world.start("operator")
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge()


def test_row_25_stop_lost(lab: MakeLab, fleet_world: World) -> None:
    """The order is gone from NATS: the operator sees that, and gives it again."""
    device = both_alive(lab, fleet_world)
    try:
        device.candidate_heard()
        target = device.target
        assert target is not None
        fleet_world.nats.put(AGENT_TARGET, device.name, msgspec.structs.replace(target, stop_instance=""))
        assert device.units() == [OLD, NEW]
    finally:
        fleet_world.start("operator")
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge()


def test_row_26_and_30_stop_twice_and_a_clean_exit(lab: MakeLab, fleet_world: World) -> None:
    device = lab(NEW)
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(NEW)
    old = device.components()[OLD]
    assert (old.result, old.exits[-1].code, old.starts) == ("success", EXIT_DONE, 1), "30: it was started again"
    before, target = device.journal(), device.target
    assert target is not None
    for _ in range(2):
        fleet_world.nats.put(AGENT_TARGET, device.name, target)
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.ALREADY_RUNNING)
    assert device.journal().committed == before.committed
    assert device.components()[OLD].starts == 1
    device.judge()


def test_row_27_stop_for_the_wrong_agent(lab: MakeLab, fleet_world: World) -> None:
    device = both_alive(lab, fleet_world)
    try:
        candidate = device.candidate_heard()
        target = device.target
        assert target is not None
        wrong = msgspec.structs.replace(target, stop_instance=candidate.instance_id)
        fleet_world.nats.put(AGENT_TARGET, device.name, wrong)
        beats = len(device.watch.beats)
        wait_until(lambda: len(device.watch.beats) - beats, "both go on", timeout=30, until=lambda more: more >= 6)
        assert device.units() == [OLD, NEW]
    finally:
        fleet_world.start("operator")
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge()


def test_row_28_late_stop_from_an_earlier_attempt(lab: MakeLab, fleet_world: World) -> None:
    device = lab(NEW)
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.order(OLD)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(OLD)
    target = device.target
    assert target is not None
    writer = device.watch.writers[-1]
    late = msgspec.structs.replace(target, generation=1, stop_instance=writer, version=NEW)
    fleet_world.nats.put(AGENT_TARGET, device.name, late)
    beats = len(device.watch.beats)
    wait_until(lambda: len(device.watch.beats) - beats, "it goes on", timeout=30, until=lambda more: more >= 4)
    assert device.units() == [OLD]
    assert device.watch.writers[-1] == writer
    device.order_number = 0
    device.judge()


def test_row_31_old_agent_refuses_to_exit(lab: MakeLab, fleet_world: World) -> None:
    """It is frozen when it is ordered to stop; its unit is stopped by force, and meanwhile nobody else writes."""
    device = both_alive(lab, fleet_world)
    try:
        device.candidate_heard()
        device.signal(OLD, signal.SIGSTOP)
    finally:
        fleet_world.start("operator")
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(NEW)
    device.judge()


def test_row_32_both_agents_see_the_same_change(lab: MakeLab, fleet_world: World) -> None:
    device = both_alive(lab, fleet_world)
    extra = f"{device.name}-extra"
    try:
        device.candidate_heard()
        nats = fleet_world.nats
        index = nats.get(DESIRED_INDEX, device.name)
        assert index is not None
        nats.put(DESIRED_STATE, f"{device.name}.{extra}", Desired(1, Container(IMAGE, ("sleep", "1000000"))))
        nats.put(DESIRED_INDEX, device.name, DesiredIndex({**index.deployments, extra: 1}))
        wait_until(device.containers, "it runs", timeout=30, until=lambda found: extra in found)
        assert "container starts" not in device.log(NEW), "the candidate touched the engine"
        assert device.log(OLD).count(f'"deployment": "{extra}"') >= 1
    finally:
        fleet_world.start("operator")
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge()


def test_row_33_agent_unit_stopped(lab: MakeLab) -> None:
    """What the engine runs is not the agent's; podman's conmon: `e2e/test_machine_faults.py`."""
    device = lab()
    assert device.host.run(["systemctl", "stop", f"fleet-agent@{OLD}.service"]).code == 0
    assert device.units() == []
    assert device.containers() == device.before
    assert device.host.run(["systemctl", "start", f"fleet-agent@{OLD}.service"]).code == 0
    device.runs(OLD)
    device.judge(silence=None)


def test_row_40_credential_rotated_mid_upgrade(lab: MakeLab, fleet_world: World) -> None:
    """Both agents read the key that is current when they start; going back connects as well."""
    device = both_alive(lab, fleet_world)
    try:
        device.candidate_heard()
    finally:
        fleet_world.start("operator")
    device.rotate()
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.order(OLD)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(OLD)
    device.judge(silence=None)


def test_row_45_nats_restarts_in_the_middle(lab: MakeLab, fleet_world: World) -> None:
    device = lab(NEW)
    device.order(NEW)
    device.reports(UpgradePhase.STARTING)
    fleet_world.kill("nats")
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(NEW)
    device.judge(silence=None)
