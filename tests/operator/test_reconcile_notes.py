"""What is told in Events of who ordered a generation, and of how a device's workloads get on."""

from __future__ import annotations

import msgspec

from fleet.contract.change import APPLIED, Change
from fleet.contract.wire import Phase, Reason
from fleet.operator.reconcile.actions import PatchDeploymentStatus, PatchDeviceStatus
from tests.operator.model import World, fleet

CHANGE = Change("7f3a9c2e41d0", 1, "fleet deployment apply", "alice")


Told = list[tuple[str, str, str]]


def ordered(world: World, change: Change) -> None:
    item = world.deployments["web"]
    meta = msgspec.structs.replace(item.metadata, annotations={APPLIED: change.annotation})
    world.deployments["web"] = msgspec.structs.replace(item, metadata=meta)


def settled(world: World) -> Told:
    """Everything that is told until nothing more happens."""
    written = [one for one in world.settle() if isinstance(one, PatchDeviceStatus | PatchDeploymentStatus)]
    return [(note.type, note.reason, note.message) for one in written for note in one.notes]


def test_who_ordered_a_generation_is_told_once_and_travels_to_the_device() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    ordered(world, CHANGE)
    told = settled(world)
    by = "generation 1 was ordered by alice with `fleet deployment apply` (change 7f3a9c2e41d0)"
    assert [one for one in told if one[1] == "GenerationOrdered"] == [("Normal", "GenerationOrdered", by)]
    assert world.desired["pi-1"]["web"].change == CHANGE.id
    assert settled(world) == []


def test_what_another_tool_changed_is_laid_to_nobodys_charge() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    ordered(world, msgspec.structs.replace(CHANGE, generation=2))
    (told,) = [one for one in settled(world) if one[1] == "GenerationOrdered"]
    assert "alice" not in told[2]
    assert "managedFields" in told[2]
    assert world.desired["pi-1"]["web"].change == ""


def test_each_step_of_a_workload_is_told_once() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    settled(world)
    for phase, reason, kind in (
        (Phase.PENDING, Reason.PULLING, "Normal"),
        (Phase.RUNNING, Reason.STARTED, "Normal"),
        (Phase.FAILED, Reason.WENT_BACK, "Warning"),
    ):
        world.report("pi-1", "web", phase=phase, reason=reason, message="as it is")
        told = [one for one in settled(world) if one[1] == reason.value]
        assert told == [(kind, reason.value, f"web generation 1: {phase.value}; as it is")]
        world.report("pi-1", "web", phase=phase, reason=reason, message="as it is")
        assert settled(world) == []


def test_a_workload_that_goes_is_told() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    settled(world)
    world.delete_deployment("web")
    assert ("Normal", "WorkloadRemoved", "web is not to run here any more") in settled(world)


def test_a_device_that_comes_and_goes_is_no_event_of_a_deployment_that_all_devices_run() -> None:
    """It is one of the device."""
    world = fleet("pi-1", "pi-2")
    world.deploy("web")
    world.settle()
    world.report_all(("pi-1", "pi-2"), "web")
    assert "AllReady" in {reason for _, reason, _ in settled(world)}
    world.now += 31
    world.beat("pi-1")
    assert {reason for _, reason, _ in settled(world)} == {"HeartbeatMissed"}
    assert world.condition("web", "Ready") == ("True", "ReadyWhenLastHeard")
    world.beat("pi-2")
    assert {reason for _, reason, _ in settled(world)} == {"HeartbeatReceived"}
    assert world.condition("web", "Ready") == ("True", "AllReady")
    world.deploy("web", image="other:1")
    world.settle()
    world.now += 31
    world.beat("pi-1")
    world.report_all(("pi-1", "pi-2"), "web")
    assert "ReadyWhenLastHeard" in {reason for _, reason, _ in settled(world)}, "that a change has come everywhere is"
