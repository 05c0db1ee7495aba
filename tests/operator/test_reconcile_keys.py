"""What each device is told to run, and what is left of it when it goes."""

from __future__ import annotations

import msgspec

from fleet.contract.limits import MAX_DESIRED
from fleet.contract.wire import Container, Desired, DesiredIndex
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    DeleteDesired,
    Kick,
    PatchDeviceStatus,
    Purge,
    RemoveFinalizer,
    WriteDesired,
    WriteIdentity,
    WriteIndex,
)
from tests.operator.model import World, fleet, identity


def test_an_enrolled_device_has_an_index_from_the_start() -> None:
    assert fleet("pi-1").indexes == {"pi-1": DesiredIndex({})}


def test_a_deployment_reaches_the_devices_that_it_selects() -> None:
    world = fleet("pi-1", "pi-2")
    world.add_device("vm-1", site="home")
    world.deploy("web", select={"site": "lab"})
    world.settle()
    assert world.desired == {name: {"web": Desired(1, Container("app:1"))} for name in ("pi-1", "pi-2")}
    assert world.runs("vm-1") == {}
    assert world.deployments["web"].status.matched == 2
    assert [world.devices[name].status.deployments for name in ("pi-1", "vm-1")] == [1, 0]


def test_a_selector_without_pairs_selects_every_device() -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web")
    world.settle()
    assert world.runs("pi-1") == world.runs("pi-2") == {"web": 1}


def test_a_change_writes_the_entry_before_the_index_and_a_removal_the_index_before_the_entry() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    world.step()
    written = [action for action in world.plan() if isinstance(action, WriteDesired | WriteIndex)]
    assert [type(action) for action in written] == [WriteDesired, WriteIndex]
    world.settle()
    world.delete_deployment("web")
    removed = [type(action) for action in world.plan()]
    assert removed[:3] == [WriteIndex, DeleteDesired, RemoveFinalizer]


def test_devices_follow_their_labels() -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web", select={"site": "lab"})
    world.settle()
    world.report_all(("pi-1", "pi-2"), "web")
    world.settle()
    world.edit_device("pi-2", labels={"site": "home"})
    world.settle()
    assert (world.runs("pi-1"), world.runs("pi-2")) == ({"web": 1}, {})
    assert world.desired.get("pi-2", {}) == {}
    assert world.states.get("pi-2", {}) == {}, "what it reported of it goes too"
    assert world.deployments["web"].status.matched == 1
    assert world.condition("web", "Ready") == ("True", "AllReady")


def test_a_change_of_the_selector_moves_the_workload() -> None:
    world = fleet("pi-1")
    world.add_device("vm-1", site="home")
    world.deploy("web", select={"site": "lab"})
    world.settle()
    world.deploy("web", select={"site": "home"})
    world.settle()
    assert (world.runs("pi-1"), world.runs("vm-1")) == ({}, {"web": 2})


def test_what_somebody_else_wrote_or_deleted_is_put_right() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    world.settle()
    for spoil in (
        lambda: world.indexes.pop("pi-1"),
        lambda: world.desired.pop("pi-1"),
        lambda: world.desired["pi-1"].update(web=Desired(9, Container("evil:1"))),
        lambda: world.desired["pi-1"].update(ghost=Desired(9, Container("evil:1"))),
        lambda: world.indexes.update({"pi-1": DesiredIndex({"web": 7, "ghost": 1})}),
        lambda: world.identities.pop("sub-pi-1"),
    ):
        spoil()
        world.settle()
        assert world.desired["pi-1"] == {"web": Desired(1, Container("app:1"))}
        assert world.runs("pi-1") == {"web": 1}
        assert world.identities == {"sub-pi-1": identity("pi-1")}


def test_keys_of_devices_that_do_not_exist_are_left_alone() -> None:
    """A server that looks at the wrong namespace must not take a fleet's workloads away."""
    world = World()
    world.indexes["pi-1"] = DesiredIndex({"web": 1})
    world.desired["pi-1"] = {"web": Desired(1, Container("app:1"))}
    assert world.plan() == ()


def test_a_workload_that_fits_no_message_is_told_and_sent_to_nobody() -> None:
    world = fleet("pi-1")
    world.deploy("web", "app:1")
    world.settle()
    spec = world.deployments["web"].spec
    large = Container("app:2", env={"DATA": "x" * MAX_DESIRED})
    world.deploy("web", "app:2")
    world.deployments["web"] = msgspec.structs.replace(
        world.deployments["web"], spec=msgspec.structs.replace(spec, workload=large)
    )
    world.settle()
    assert world.runs("pi-1") == {"web": 1}, "what ran goes on"
    assert world.condition("web", "Ready") == ("False", "WorkloadTooLarge")


def test_a_deleted_device_leaves_no_session_no_identity_and_no_key() -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web")
    world.settle()
    world.connect("pi-1")
    world.connect("pi-2")
    world.delete_device("pi-1")
    actions = world.settle()
    assert [type(action) for action in actions if not isinstance(action, PatchDeviceStatus)][:2] == [
        WriteIdentity,
        Kick,
    ]
    assert Purge("pi-1") in actions
    assert world.devices.keys() == world.indexes.keys() == world.infos.keys() == {"pi-2"}
    assert world.identities == {"sub-pi-2": identity("pi-2")}
    assert world.sessions == {("pi-2", "sub-pi-2")}
    assert world.deployments["web"].status.matched == 1


def test_a_device_is_not_let_go_while_it_has_a_session() -> None:
    world = fleet("pi-1")
    world.delete_device("pi-1")
    assert not any(isinstance(action, Purge | RemoveFinalizer) for action in world.plan())


def test_a_device_that_never_enrolled_can_be_deleted() -> None:
    world = World()
    world.add_device("pi-1")
    world.settle()
    world.delete_device("pi-1")
    world.settle()
    assert world.devices == {}


def test_an_object_deleted_before_it_was_held_is_left_alone() -> None:
    world = World()
    world.add_device("pi-1")
    world.deploy("web")
    world.delete_device("pi-1")
    world.delete_deployment("web")
    assert not any(isinstance(action, AddFinalizer) for action in world.plan())


def test_a_deleted_deployment_leaves_offline_devices_too() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    world.settle()
    world.now += 3600
    world.delete_deployment("web")
    world.settle()
    assert (world.deployments, world.runs("pi-1")) == ({}, {})
