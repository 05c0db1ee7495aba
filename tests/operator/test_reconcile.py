"""The decision, as a table of situations: no server, no clock but the test's."""

from __future__ import annotations

import time

import msgspec
import pytest

from fleet.contract.names import DeviceId
from fleet.contract.objects import Strategy, StrategyType
from fleet.contract.wire import Container, Desired, DesiredIndex, Identity, IdentityState, Phase
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    DeleteDesired,
    DeleteIdentity,
    Kick,
    PatchDeviceStatus,
    Purge,
    RemoveFinalizer,
    WriteDesired,
    WriteIdentity,
    WriteIndex,
    stage,
)
from fleet.operator.reconcile.placement import LARGEST
from tests.operator.model import INFO, World

ROLLING = Strategy(StrategyType.ROLLING, 1)
ACTIVE, REVOKED = IdentityState.ACTIVE, IdentityState.REVOKED


def identity(device: str, state: IdentityState = ACTIVE) -> Identity:
    return Identity(DeviceId(device), state)


def fleet(*names: str) -> World:
    """Enrolled devices that are online."""
    world = World()
    for name in names:
        world.add_device(name, subject=f"sub-{name}", site="lab")
    world.settle()
    world.beat(*names)
    world.settle()
    return world


# Admission


def test_nothing_is_written_for_an_object_before_it_is_held() -> None:
    world = World()
    world.add_device("pi-1", subject="sub-1")
    world.deploy("web")
    assert set(world.plan()) == {AddFinalizer("Device", "pi-1"), AddFinalizer("FleetDeployment", "web")}


def test_a_device_with_a_subject_is_registered() -> None:
    world = fleet("pi-1")
    assert world.identities == {"sub-pi-1": identity("pi-1")}
    assert world.condition("pi-1", "Enrolled") == ("True", "IdentityRegistered")
    assert world.condition("pi-1", "Revoked") == ("False", "NotRevoked")


def test_a_device_without_a_subject_is_not() -> None:
    world = World()
    world.add_device("pi-1")
    world.settle()
    assert world.identities == {}
    assert world.condition("pi-1", "Enrolled") == ("False", "NoSubject")


def test_revocation_denies_first_then_ends_sessions_then_says_so() -> None:
    world = fleet("pi-1", "pi-2")
    world.connect("pi-1")
    world.connect("pi-2")
    world.edit_device("pi-1", revoked=True)
    denied, kicked, told = world.step()
    assert denied == WriteIdentity("sub-pi-1", identity("pi-1", REVOKED))
    assert kicked == Kick("pi-1", frozenset({"sub-pi-1"}), banned=True)
    assert isinstance(told, PatchDeviceStatus)
    assert world.condition("pi-1", "Revoked") == ("False", "Revoking")
    world.settle()
    assert world.condition("pi-1", "Revoked") == ("True", "SessionsDropped")
    assert world.condition("pi-1", "Online") == ("False", "Revoked")
    assert world.sessions == {("pi-2", "sub-pi-2")}
    assert world.identities["sub-pi-2"] == identity("pi-2")


def test_a_revocation_is_looked_into_again_by_an_operator_that_just_started() -> None:
    world = fleet("pi-1")
    world.edit_device("pi-1", revoked=True)
    world.settle()
    world.restart()
    world.sessions.add(("pi-1", "sub-pi-1"))
    (kick,) = world.plan()
    assert isinstance(kick, Kick), "without a status that goes back and forth"
    world.settle()
    assert world.sessions == set()
    assert world.condition("pi-1", "Revoked") == ("True", "SessionsDropped")


def test_a_device_that_is_let_in_again_can_be_revoked_again() -> None:
    world = fleet("pi-1")
    for _ in range(2):
        world.connect("pi-1")
        assert world.sessions
        world.edit_device("pi-1", revoked=True)
        world.settle()
        assert world.sessions == set()
        world.edit_device("pi-1", revoked=False)
        world.settle()
        assert world.identities == {"sub-pi-1": identity("pi-1")}
        assert world.condition("pi-1", "Revoked") == ("False", "NotRevoked")


def test_a_revoked_device_keeps_its_desired_state() -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web", "app:1")
    world.settle()
    world.edit_device("pi-1", revoked=True)
    world.settle()
    world.deploy("web", "app:2")
    world.settle()
    assert world.runs("pi-1") == {"web": 1}
    assert world.runs("pi-2") == {"web": 2}
    assert world.deployments["web"].status.matched == 1
    world.edit_device("pi-1", revoked=False)
    world.settle()
    assert world.runs("pi-1") == {"web": 2}


def test_a_deleted_deployment_leaves_revoked_devices_too() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    world.settle()
    world.edit_device("pi-1", revoked=True)
    world.settle()
    world.delete_deployment("web")
    world.settle()
    assert world.runs("pi-1") == {}
    assert world.deployments == {}


def test_enrolling_again_replaces_the_identity_and_ends_the_old_sessions() -> None:
    world = fleet("pi-1")
    world.connect("pi-1")
    world.edit_device("pi-1", subject="sub-new")
    actions = world.settle()
    assert WriteIdentity("sub-pi-1", identity("pi-1", REVOKED)) in actions
    assert Kick("pi-1", frozenset({"sub-pi-1"}), banned=False) in actions
    assert world.identities == {"sub-new": identity("pi-1")}
    assert world.sessions == set()
    assert world.condition("pi-1", "Revoked") == ("False", "NotRevoked")


def test_a_device_that_enrolled_again_can_be_revoked() -> None:
    world = fleet("pi-1")
    world.edit_device("pi-1", subject="sub-new")
    world.settle()
    world.connect("pi-1")
    world.edit_device("pi-1", revoked=True)
    world.settle()
    assert world.sessions == set()
    assert world.identities == {"sub-new": identity("pi-1", REVOKED)}


def test_a_subject_belongs_to_the_device_that_had_it_first() -> None:
    world = World()
    world.add_device("a-late", subject="sub", created="2026-03-01T00:00:00Z")
    world.add_device("z-early", subject="sub", created="2026-01-01T00:00:00Z")
    world.settle()
    assert world.identities == {"sub": identity("z-early")}
    assert world.condition("a-late", "Enrolled") == ("False", "SubjectTaken")
    world.connect("z-early")
    world.delete_device("z-early")
    assert [action for action in world.plan() if isinstance(action, WriteIdentity)] == [
        WriteIdentity("sub", identity("z-early", REVOKED))
    ], "it changes hands only when the former owner's sessions are gone"
    world.settle()
    assert world.identities == {"sub": identity("a-late")}
    assert world.condition("a-late", "Enrolled") == ("True", "IdentityRegistered")
    assert world.sessions == set()


def test_a_subject_stays_with_the_device_that_is_registered_with_it() -> None:
    world = fleet("pi-1")
    world.connect("pi-1")
    world.add_device("a-new", subject="sub-pi-1", created="2020-01-01T00:00:00Z")
    world.settle()
    assert world.identities == {"sub-pi-1": identity("pi-1")}
    assert world.sessions == {("pi-1", "sub-pi-1")}


def test_an_identity_of_no_device_is_denied_and_forgotten() -> None:
    world = World()
    world.identities["sub-ghost"] = identity("ghost")
    world.connect("ghost")
    world.settle()
    assert world.identities == {}
    assert world.sessions == set()


def test_taking_the_finalizer_from_a_living_device_changes_nothing_for_it() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    world.settle()
    stripped = msgspec.structs.replace(world.devices["pi-1"].metadata, finalizers=())
    world.devices["pi-1"] = msgspec.structs.replace(world.devices["pi-1"], metadata=stripped)
    assert world.plan()[0] == AddFinalizer("Device", "pi-1")
    assert not any(isinstance(action, WriteIndex | WriteIdentity | Kick | DeleteIdentity) for action in world.plan())


def test_taking_the_finalizer_from_a_living_deployment_changes_nothing_on_devices() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    world.settle()
    stripped = msgspec.structs.replace(world.deployments["web"].metadata, finalizers=())
    world.deployments["web"] = msgspec.structs.replace(world.deployments["web"], metadata=stripped)
    assert world.plan() == (AddFinalizer("FleetDeployment", "web"),)


# Desired state


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
    large = Container("app:2", env={"DATA": "x" * LARGEST})
    world.deploy("web", "app:2")
    world.deployments["web"] = msgspec.structs.replace(
        world.deployments["web"], spec=msgspec.structs.replace(spec, workload=large)
    )
    world.settle()
    assert world.runs("pi-1") == {"web": 1}, "what ran goes on"
    assert world.condition("web", "Ready") == ("False", "WorkloadTooLarge")


# Deletion


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


# Status


def test_online_is_by_the_time_of_receipt_and_ends_by_itself() -> None:
    world = World()
    world.add_device("pi-1", subject="sub")
    world.settle()
    assert world.condition("pi-1", "Online") == ("Unknown", "NeverSeen")
    world.beat("pi-1")
    world.settle()
    assert world.condition("pi-1", "Online") == ("True", "HeartbeatReceived")
    world.now += 29.9
    assert world.plan() == (), "a device that is online costs nothing"
    world.now += 0.2
    world.settle()
    assert world.condition("pi-1", "Online") == ("False", "HeartbeatMissed")
    world.beat("pi-1")
    world.settle()
    assert world.condition("pi-1", "Online") == ("True", "HeartbeatReceived")


def test_a_device_cannot_claim_to_be_online_for_a_year() -> None:
    world = fleet("pi-1")
    heard = world.heard["pi-1"]
    year = msgspec.structs.replace(heard.heartbeat, interval=365 * 24 * 3600.0)
    world.heard["pi-1"] = msgspec.structs.replace(heard, heartbeat=year)
    world.now += 3 * 3600 + 1
    world.settle()
    assert world.condition("pi-1", "Online") == ("False", "HeartbeatMissed")


def test_heartbeats_alone_write_nothing() -> None:
    world = fleet("pi-1")
    before = world.devices["pi-1"].status
    for _ in range(5):
        world.now += 10
        world.beat("pi-1")
        assert world.plan() == ()
    world.now += 31
    world.settle()
    after = world.devices["pi-1"].status
    assert (before.last_heartbeat, after.last_heartbeat) == ("2027-01-15T08:00:00Z", "2027-01-15T08:00:50Z")


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    world = fleet("pi-1")
    since = {condition.type: condition.last_transition_time for condition in world.devices["pi-1"].status.conditions}
    world.now += 5
    world.edit_device("pi-1", labels={"site": "home"})
    world.settle()
    conditions = world.devices["pi-1"].status.conditions
    assert {condition.type: condition.last_transition_time for condition in conditions} == since
    assert {condition.observed_generation for condition in conditions} == {2}
    world.now += 60
    world.settle()
    moved = {c.type for c in world.devices["pi-1"].status.conditions if c.last_transition_time != since[c.type]}
    assert moved == {"Online"}


def test_what_a_device_is_stays_told_when_its_key_is_lost() -> None:
    world = fleet("pi-1")
    assert world.devices["pi-1"].status.info == INFO
    world.infos.clear()
    world.settle()
    assert world.devices["pi-1"].status.info == INFO


def test_a_deployment_counts_its_devices() -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.deploy("web")
    world.settle()
    assert world.condition("web", "Ready") == ("False", "InProgress")
    assert world.condition("web", "Progressing") == ("True", "RollingOut")
    world.report("pi-1", "web")
    world.report("pi-2", "web", Phase.FAILED)
    world.settle()
    status = world.deployments["web"].status
    assert (status.matched, status.updated, status.ready, status.failed) == (3, 3, 1, 1)
    assert world.condition("web", "Ready") == ("False", "DevicesFailed")
    message = next(condition.message for condition in status.conditions if condition.type == "Ready")
    assert message == "1 of 3 devices failed; pi-2: ImageNotFound: no such image"
    world.report_all(("pi-1", "pi-2", "pi-3"), "web")
    world.settle()
    assert world.condition("web", "Ready") == ("True", "AllReady")
    assert world.condition("web", "Progressing") == ("False", "Complete")


def test_a_deployment_of_no_device_says_so() -> None:
    world = fleet("pi-1")
    world.deploy("web", select={"site": "mars"})
    world.settle()
    assert world.condition("web", "Ready") == ("False", "NoDevices")


def test_a_report_of_the_generation_before_does_not_count() -> None:
    world = fleet("pi-1")
    world.deploy("web", "app:1")
    world.settle()
    world.report("pi-1", "web")
    world.settle()
    world.deploy("web", "app:2")
    world.settle()
    status = world.deployments["web"].status
    assert (status.observed_generation, status.updated, status.ready) == (2, 1, 0)


def test_events_tell_transitions_once() -> None:
    world = fleet("pi-1")
    world.now += 31
    (patch,) = world.plan()
    assert isinstance(patch, PatchDeviceStatus)
    assert [(note.type, note.reason) for note in patch.notes] == [("Warning", "HeartbeatMissed")]
    world.settle()
    world.edit_device("pi-1", labels={})
    (patch,) = world.plan()
    assert isinstance(patch, PatchDeviceStatus)
    assert patch.notes == ()


# Rolling


def rolled(world: World, deployment: str) -> dict[str, int]:
    return {name: world.runs(name)[deployment] for name in sorted(world.indexes) if deployment in world.runs(name)}


def test_rolling_waits_for_each_device() -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.deploy("web", "app:1")
    world.settle()
    world.report_all(world.devices, "web")
    world.deploy("web", "app:2", strategy=ROLLING)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 2, "pi-2": 1, "pi-3": 1}
    assert world.deployments["web"].status.updated == 1
    world.report("pi-1", "web")
    world.settle()
    assert rolled(world, "web") == {"pi-1": 2, "pi-2": 2, "pi-3": 1}
    world.report("pi-2", "web")
    world.settle()
    world.report("pi-3", "web")
    world.settle()
    assert world.condition("web", "Ready") == ("True", "AllReady")


def test_rolling_halts_at_failures_until_a_fix_comes() -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.deploy("web", "app:1")
    world.settle()
    world.report_all(world.devices, "web")
    world.deploy("web", "app:bad", strategy=ROLLING)
    world.settle()
    world.report("pi-1", "web", Phase.FAILED)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 2, "pi-2": 1, "pi-3": 1}
    assert world.condition("web", "Progressing") == ("False", "Halted")
    world.deploy("web", "app:3", strategy=ROLLING)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 3, "pi-2": 1, "pi-3": 1}, "the device that is down is mended first"


def test_rolling_is_held_up_by_a_device_that_falls_silent_on_its_way_but_by_no_other() -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.deploy("web", "app:1")
    world.settle()
    world.report_all(world.devices, "web")
    world.now += 60
    world.beat("pi-2", "pi-3")
    world.deploy("web", "app:2", strategy=ROLLING)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 1, "pi-2": 2, "pi-3": 1}, "pi-1 was offline before"
    world.now += 60
    world.beat("pi-1", "pi-3")
    world.settle()
    assert rolled(world, "web") == {"pi-1": 1, "pi-2": 2, "pi-3": 1}, "pi-2 fell silent on its way"


def test_rolling_goes_on_where_a_lost_entry_was() -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web", strategy=ROLLING)
    world.settle()
    assert world.runs("pi-1") == {"web": 1}
    world.desired["pi-1"].clear()
    world.settle()
    assert sum("web" in world.runs(name) for name in ("pi-1", "pi-2")) == 1


# Cost


@pytest.mark.parametrize("devices", [1000])
def test_a_decision_over_a_fleet_is_quick_when_nothing_is_to_be_done(devices: int) -> None:
    names = [f"pi-{number}" for number in range(devices)]
    world = fleet(*names)
    for number in range(5):
        world.deploy(f"web-{number}")
    world.settle()
    for number in range(5):
        world.report_all(names, f"web-{number}")
    world.settle()
    started = time.process_time()
    assert world.plan() == ()
    assert time.process_time() - started < 0.5, "about 0.05 s, with room for a busy machine"


def test_actions_come_in_the_order_of_their_stages() -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web")
    world.settle()
    world.delete_device("pi-1")
    world.edit_device("pi-2", revoked=True)
    world.deploy("db")
    for _ in range(3):
        stages = [stage(action) for action in world.plan()]
        assert stages == sorted(stages)
        world.step()
