"""Rows 1-3, 35-38, 43, 44, 47, 48: orders, and what must be before one is begun."""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec
import pytest

from fleet.contract.buckets import AGENT_TARGET, DEVICE_HEARTBEAT, DEVICE_INFO
from fleet.contract.names import AgentVersion, DeviceId, Digest
from fleet.contract.objects import API_VERSION, DEVICES
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget, DeviceInfo, Heartbeat
from harness.wait import wait_until
from harness.world.world import World
from tests.upgrade.device import artifact
from tests.upgrade.matrix.conftest import NEW, NEWER, OLD, MakeLab, Publish
from tests.upgrade.matrix.faulty import CRASHES, faulty, slow_engine

pytestmark = pytest.mark.matrix

COMMITTED, REFUSED, REVERTED = UpgradePhase.COMMITTED, UpgradePhase.REFUSED, UpgradePhase.REVERTED


def test_row_01_reconcile_in_flight(lab: MakeLab) -> None:
    device = lab(NEW, drain=60)
    with slow_engine(device.host.root / "run/docker.sock") as engine:
        device.signal(OLD, signal.SIGKILL)  # its connection to the engine is older than the slow way there
        device.deploy("slow")
        assert engine.waiting.wait(30), "the agent never began"
        device.order(NEW)
        wait_until(
            lambda: [it.upgrade.reason for it in device.watch.infos if it.upgrade],
            "it says what it waits for",
            timeout=60,
            until=lambda seen: UpgradeReason.WAITING_FOR_RECONCILES in seen,
        )
        assert device.units() == [OLD]
        engine.may_create.set()
        device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge(silence=None)


def test_row_02_workload_unhealthy_before(lab: MakeLab) -> None:
    device = lab()
    device.deploy("sick", command=["sh", "-c", "exit 3"])
    device.await_failure("sick")
    device.order(NEW)
    device.ends(REFUSED, UpgradeReason.WORKLOAD_UNHEALTHY)
    assert not device.disk.store.home(NEW).exists(), "something was staged"
    device.judge()


_ANY = Digest("sha256:" + "1" * 64)


class Stranger:
    """A device that only says that it is being upgraded, and so holds the scheduling lock, or failed."""

    def __init__(self, world: World, version: AgentVersion, phase: UpgradePhase, digest: Digest = _ANY) -> None:
        self.world, self.name = world, DeviceId(world.unique("stranger"))
        over = phase.terminal
        target = AgentTarget(version, digest, 1, granted=not over, order=1)
        reason = UpgradeReason.CANDIDATE_CRASHED if over else UpgradeReason.IN_PROGRESS
        info = DeviceInfo(OLD, "x", "x", "x", 1, 1, "b", upgrade=UpgradeStatus(1, phase, reason))
        world.nats.put(DEVICE_HEARTBEAT, self.name, Heartbeat(OLD, "stranger", "b", 1, 3600))
        world.nats.put(DEVICE_INFO, self.name, info)
        world.nats.put(AGENT_TARGET, self.name, target)
        meta = {"name": str(self.name), "namespace": world.namespace}
        spec = {"agentVersion": str(version), "agentOrder": 1}
        body = {"apiVersion": API_VERSION, "kind": "Device", "metadata": meta, "spec": spec}
        world.kube.create(world.kube.path(DEVICES), body)

    def condition(self) -> str:
        """What the operator says of it."""
        item = self.world.kube.device(self.name)
        conditions = item.status.conditions if item else ()
        return next((one.reason for one in conditions if one.type == "Upgraded"), "")

    def dies(self) -> None:
        self.world.kube.delete(self.world.kube.path(DEVICES, self.name))


def test_row_03_lock_denied_and_its_holder_dies(lab: MakeLab, fleet_world: World) -> None:
    device = lab(NEW)
    holder = Stranger(fleet_world, AgentVersion("v0.8.1"), UpgradePhase.STARTING)
    try:
        device.order(NEW)
        device.says("WaitingForLock")
        assert device.units() == [OLD]
    finally:
        holder.dies()
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.judge()


def test_row_35_two_upgrades_queued(lab: MakeLab, fleet_world: World) -> None:
    device = lab(NEW, NEWER)
    holder = Stranger(fleet_world, AgentVersion("v0.8.2"), UpgradePhase.STARTING)
    try:
        device.order(NEW)
        device.says("WaitingForLock")
        device.order(NEWER)
    finally:
        holder.dies()
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(NEWER)
    assert '"reason": "Superseded"' in device.log(OLD), "nobody said what became of the first"
    assert NEW not in device.components(), "the first was begun all the same"
    device.judge()


def test_row_36_37_38_rolling_back(lab: MakeLab) -> None:
    """While it rolls forward; to what runs; with the target on disk, and without."""
    device = lab(NEW)
    device.order(NEW)
    device.reports(UpgradePhase.STARTING)
    device.order(OLD)
    device.ends(COMMITTED, UpgradeReason.ALREADY_RUNNING)
    device.runs(OLD)
    device.order(OLD)
    device.ends(COMMITTED, UpgradeReason.ALREADY_RUNNING)
    device.order(NEW)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(NEW)
    device.disk.store.artifact(OLD).write_bytes(b"")
    device.order(OLD)
    device.ends(COMMITTED, UpgradeReason.CONFIRMED)
    device.runs(OLD)
    assert not device.disk.store.flaw(device.journal().committed), "it was not fetched anew"
    device.judge()


def test_row_43_same_version_with_another_digest(lab: MakeLab) -> None:
    device = lab(NEW)
    marker = device.disk.store.home(NEW) / "verified"
    told = device.disk.store.marker(NEW)
    assert told is not None
    marker.write_bytes(msgspec.json.encode(msgspec.structs.replace(told, digest="sha256:" + "3" * 64)))
    device.order(NEW)
    device.ends(REFUSED, UpgradeReason.DIGEST_CONFLICT)
    assert device.units() == [OLD]
    device.judge()


def test_row_44_offline_and_the_order_withdrawn(lab: MakeLab) -> None:
    device = lab(NEW)
    device.host.power_off()
    device.order(NEW)
    wait_until(lambda: device.target, "it is ordered", timeout=20)
    device.order("")
    wait_until(lambda: device.target and device.target.withdrawn, "the order is withdrawn", timeout=20)
    device.host.power_on()
    device.await_online()
    device.runs(OLD)
    assert device.journal().candidate is None
    device.order_number = 0
    device.judge(silence=None)


def test_row_47_abort_threshold(lab: MakeLab, fleet_world: World, published: Publish, tmp_path: Path) -> None:
    device = lab()
    bad = faulty(published, tmp_path, CRASHES)
    digest = artifact(tmp_path / "again", bad, CRASHES)[1].digest  # of the file that was published
    failed = [Stranger(fleet_world, bad, REVERTED, digest) for _ in range(3)]
    try:
        for one in failed:
            wait_until(
                one.condition, f"{one.name} is known to have failed", timeout=20, until="CandidateCrashed".__eq__
            )
        device.order(bad)
        device.says("RolloutHalted")
        assert device.units() == [OLD]
    finally:
        for one in failed:
            one.dies()
    device.order("")
    device.says(UpgradeReason.WITHDRAWN.value)  # an order that is taken back gets no attempt of its own, so no end
    assert device.status is not None
    assert device.status.phase is REFUSED
    device.judge()


def test_row_48_device_deleted_mid_upgrade(lab: MakeLab) -> None:
    device, other = lab(NEW), lab(NEW)
    device.order(NEW)
    device.reports(UpgradePhase.STARTING)
    device.world.kube.delete(device.world.kube.path(DEVICES, device.name))
    other.order(NEW)
    other.ends(COMMITTED, UpgradeReason.CONFIRMED)
    wait_until(device.units, "one agent is left", timeout=60, until=lambda seen: len(seen) == 1)
    wait_until(lambda: device.journal().candidate, "it has come to an end", timeout=60, until=lambda it: it is None)
    assert device.units() == [device.journal().committed.version]
    assert device.containers() == {**device.containers(), **device.before}, "a workload was touched"
    other.judge()
