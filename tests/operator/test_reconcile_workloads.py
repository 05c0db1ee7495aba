"""What statuses tell of workloads: which device fails or waits and why, what runs there, and since when."""

from __future__ import annotations

import msgspec

from fleet.contract.limits import MAX_WORKLOADS_SHOWN
from fleet.contract.objects import ContainerStatus, RunningImage, Strategy, StrategyType, WorkloadStatus
from fleet.contract.pod import Pod, PodContainer
from fleet.contract.wire import Container, ContainerState, Desired, DeviceState, Phase, Reason
from fleet.operator.reconcile.tally import Image, images_differ, same_images
from fleet.operator.reconcile.workloads import shown_workloads
from tests.operator.model import INFO, World, fleet

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
INDEX = "sha256:" + "f" * 64


def deployed(*names: str, strategy: Strategy | None = None) -> World:
    world = fleet(*names)
    world.deploy("web", strategy=strategy)
    world.settle()
    return world


def workload(world: World, device: str) -> WorkloadStatus:
    (found,) = world.devices[device].status.workloads
    return found


def test_a_device_tells_each_workload_with_phase_reason_image_and_since_when() -> None:
    world = deployed("pi-1")
    assert workload(world, "pi-1") == WorkloadStatus("web", 1, "Pending", "NotReported", since="2027-01-15T08:00:00Z")
    world.now += 60
    world.beat("pi-1")
    world.report("pi-1", "web", message="", image_id=ONE)
    world.settle()
    told = WorkloadStatus("web", 1, "Running", "Started", image=ONE, since="2027-01-15T08:01:00Z")
    assert workload(world, "pi-1") == told
    world.now += 60
    world.beat("pi-1")
    world.report("pi-1", "web", message="restarted", image_id=ONE, image_digests=(INDEX,))
    world.settle()
    again = msgspec.structs.replace(told, message="restarted", image=INDEX)
    assert workload(world, "pi-1") == again, "what it says of the same phase and reason moves no time"


def test_a_report_of_the_generation_before_is_not_told_as_one_of_this() -> None:
    world = deployed("pi-1")
    world.report("pi-1", "web", image_id=ONE)
    world.settle()
    world.deploy("web", "app:2")
    world.settle()
    told = workload(world, "pi-1")
    assert (told.generation, told.phase, told.reason) == (2, "Pending", "NotReported")
    assert told.message == "of generation 1 it said Running"
    assert world.deployments["web"].status.images == ()


def test_a_state_that_cannot_be_saved_is_seen_on_the_device_and_on_the_deployment() -> None:
    world = deployed("pi-1", "pi-2")
    world.report("pi-1", "web", message="")
    world.report("pi-2", "web", Phase.RUNNING, Reason.STATE_NOT_SAVED, message="disk full")
    world.settle()
    assert world.condition("pi-2", "WorkloadTrouble") == ("True", "StateNotSaved")
    assert world.message("pi-2", "WorkloadTrouble") == "web: StateNotSaved: disk full"
    assert world.condition("web", "Ready") == ("True", "StateNotSaved")
    assert world.message("web", "Ready") == "2 of 2 devices run it; pi-2: StateNotSaved: disk full"
    assert "WorkloadTrouble" not in {one.type for one in world.devices["pi-1"].status.conditions}
    world.report("pi-2", "web", message="")
    world.settle()
    assert "WorkloadTrouble" not in {one.type for one in world.devices["pi-2"].status.conditions}
    assert world.condition("web", "Ready") == ("True", "AllReady")


def test_every_reason_of_a_device_that_runs_is_seen_unless_it_is_what_is_wanted() -> None:
    for reason in Reason:
        world = deployed("pi-1")
        world.report("pi-1", "web", Phase.RUNNING, reason)
        world.settle()
        usual = reason in {Reason.STARTED, Reason.HEALTHY, Reason.COMPLETED}
        assert world.condition("web", "Ready") == ("True", "AllReady" if usual else reason.value)
        seen = {one.type for one in world.devices["pi-1"].status.conditions}
        assert ("WorkloadTrouble" in seen) is not usual, reason


def test_every_device_that_fails_or_waits_is_named_with_its_reason_up_to_a_bound() -> None:
    names = [f"pi-{number}" for number in range(9)]
    world = deployed(*names)
    world.report("pi-0", "web", message="")
    world.report("pi-1", "web", Phase.PENDING, Reason.PULLING, message="")
    world.settle()
    so_far = "1 of 9 devices run generation 1; pi-1: Pulling"
    rest = "; ".join(f"pi-{number}: NotReported" for number in range(2, 6))
    assert world.message("web", "Ready") == f"{so_far}; {rest}; and 3 more"
    for name in names[2:]:
        world.report(name, "web", Phase.FAILED, message="no")
    world.settle()
    failed = "; ".join(f"pi-{number}: ImageNotFound: no" for number in range(2, 7))
    assert world.message("web", "Ready") == f"7 of 9 devices failed; {failed}; and 2 more"


def test_a_device_that_is_not_begun_with_and_one_that_is_away_are_told_apart() -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.now += 31
    world.beat("pi-1", "pi-3")
    world.deploy("web", strategy=Strategy(StrategyType.ROLLING, 1))
    world.settle()
    waiting = "pi-1: NotReported; pi-2: Offline; pi-3: NotBegun"
    assert world.message("web", "Ready") == f"0 of 3 devices run generation 1; {waiting}"


def test_what_a_device_ran_when_it_was_last_heard_is_said_to_be_that() -> None:
    world = deployed("pi-1", "pi-2")
    world.report_all(("pi-1", "pi-2"), "web")
    world.settle()
    assert world.condition("web", "Ready") == ("True", "AllReady")
    world.now += 31
    world.beat("pi-1")
    world.settle()
    assert world.condition("web", "Ready") == ("True", "ReadyWhenLastHeard")
    assert "as far as is known, for 1 of them cannot be heard" in world.message("web", "Ready")


def test_a_tag_that_was_moved_is_seen() -> None:
    world = deployed("pi-1", "pi-2", "pi-3")
    for device, image in (("pi-1", ONE), ("pi-2", TWO), ("pi-3", ONE)):
        world.report(device, "web", message="", image_id=image)
    world.settle()
    assert world.deployments["web"].status.images == (RunningImage(ONE, 2), RunningImage(TWO, 1))
    assert world.condition("web", "Ready") == ("True", "ImagesDiffer")
    assert f"they run 2 different images: {ONE} on 2, {TWO} on 1" in world.message("web", "Ready")
    world.report("pi-2", "web", message="", image_id=ONE)
    world.settle()
    assert world.condition("web", "Ready") == ("True", "AllReady")
    assert world.deployments["web"].status.images == (RunningImage(ONE, 3),)


def test_machines_of_two_architectures_run_the_same_image() -> None:
    """A registry has one digest for both; the id is of the image of one architecture."""
    assert same_images({Image((ONE, INDEX), "arm64"): 2, Image((TWO, INDEX), "x86"): 1}) == [RunningImage(INDEX, 3)]
    of_each = {Image((ONE, "arm", INDEX), "arm64"): 2, Image((TWO, "x86", INDEX), "x86"): 1, Image((TWO,), "x86"): 3}
    assert same_images(of_each) == [RunningImage("arm", 6)]
    assert not images_differ(of_each)
    assert same_images({Image((ONE,), ""): 1, Image((TWO,), ""): 3}) == [RunningImage(TWO, 3), RunningImage(ONE, 1)]
    assert same_images({}) == []
    assert not images_differ({})


def test_images_are_compared_among_devices_of_one_architecture() -> None:
    """Each architecture has another id of one image; podman made up a digest of each, too (a mixed fleet showed it)."""
    assert not images_differ({Image((ONE,), "arm64"): 2, Image((TWO,), "x86"): 1})
    assert not images_differ({Image((ONE, "sha256:a"), "arm64"): 2, Image((TWO, "sha256:b"), "x86"): 1})
    assert images_differ({Image((ONE,), "x86"): 2, Image((TWO,), "x86"): 1})
    moved = {Image((ONE, INDEX), "arm64"): 2, Image((TWO, INDEX), "x86"): 1, Image(("sha256:c", "sha256:d"), "x86"): 1}
    assert images_differ(moved)


def test_a_mixed_fleet_that_was_given_an_image_by_hand_runs_it_everywhere() -> None:
    world = deployed("pi-1", "vm-1", "vm-2")
    world.infos["pi-1"] = msgspec.structs.replace(INFO, arch="aarch64")
    for device, image in (("pi-1", ONE), ("vm-1", TWO), ("vm-2", TWO)):
        world.report(device, "web", message="", image_id=image)
    world.settle()
    assert world.condition("web", "Ready") == ("True", "AllReady")
    assert "different images" not in world.message("web", "Ready")
    assert world.deployments["web"].status.images == (RunningImage(TWO, 2), RunningImage(ONE, 1))


def test_an_agent_from_before_there_were_images_makes_no_difference() -> None:
    world = deployed("pi-1", "pi-2")
    world.report("pi-1", "web", image_id=ONE)
    world.report("pi-2", "web")
    world.settle()
    assert world.condition("web", "Ready") == ("True", "AllReady")
    assert world.deployments["web"].status.images == (RunningImage(ONE, 1),)


def test_a_devices_status_holds_as_many_workloads_as_there_is_room_for_those_in_trouble_first() -> None:
    names = [f"{'long' * 12}-{number:03}" for number in range(300)]
    wanted = {name: Desired(1, Container("app:1")) for name in names}
    message = "\u20ac" * 1000
    states = {name: DeviceState(1, Phase.RUNNING, Reason.STARTED, message, image_id=ONE) for name in names}
    states[names[-1]] = DeviceState(1, Phase.FAILED, Reason.PORT_IN_USE, message)
    shown = shown_workloads(wanted, states, (), 0)
    assert shown[0].name == names[-1]
    assert 10 < len(shown) <= MAX_WORKLOADS_SHOWN
    assert len(msgspec.json.encode(shown)) < 16 * 1024


def test_the_containers_of_pods_are_told_those_in_trouble_first_as_far_as_there_is_room() -> None:
    names = [f"app-{number:02}" for number in range(30)]
    wanted = {name: Desired(1, Container("app:1")) for name in names}
    each = tuple(ContainerState(f"c{place:02}", Phase.RUNNING, Reason.STARTED) for place in range(16))
    states = {name: DeviceState(1, Phase.RUNNING, Reason.STARTED, containers=each) for name in names}
    broken = ContainerState("db", Phase.FAILED, Reason.IMAGE_NOT_FOUND)
    states[names[-1]] = DeviceState(1, Phase.FAILED, Reason.IMAGE_NOT_FOUND, containers=(broken,))
    shown = shown_workloads(wanted, states, (), 0)
    assert len(shown) == len(names)
    assert shown[0].containers == (ContainerStatus("db", "Failed", "ImageNotFound"),)
    assert [len(one.containers) for one in shown[1:4]] == [16, 16, 16]
    assert shown[-1].containers == ()
    assert len(msgspec.json.encode(shown)) < 16 * 1024
    few = shown_workloads(dict(list(wanted.items())[:8]), states, (), 0)
    assert len(msgspec.json.encode(few)) < 16 * 1024


def test_another_state_of_one_container_is_news() -> None:
    world = deployed("pi-1")
    for phase, reason in ((Phase.PENDING, Reason.STARTING), (Phase.RUNNING, Reason.HEALTHY)):
        world.report("pi-1", "web", containers=(ContainerState("db", phase, reason),))
        world.settle()
        (one,) = workload(world, "pi-1").containers
        assert (one.phase, one.reason) == (phase.value, reason.value)


def test_the_images_of_a_deployment_stand_in_its_status_in_short() -> None:
    world = deployed("pi-1")
    assert world.deployments["web"].status.workload_images == "app:1"
    parts = tuple(PodContainer(name=f"c{number}", image=f"app:{number}") for number in (1, 2, 2, 3, 4, 5))
    parts = tuple(msgspec.structs.replace(one, name=f"c{place}") for place, one in enumerate(parts))
    known = world.deployments["web"]
    meta = msgspec.structs.replace(known.metadata, generation=2)
    spec = msgspec.structs.replace(known.spec, workload=Pod(parts))
    world.deployments["web"] = msgspec.structs.replace(known, metadata=meta, spec=spec)
    world.settle()
    assert world.deployments["web"].status.workload_images == "app:1, app:2, app:3, and 2 more"
