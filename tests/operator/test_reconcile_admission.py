"""Who is in the registry, who is out, and whose sessions end."""

from __future__ import annotations

import msgspec

from fleet.contract.wire import IdentityState
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    DeleteIdentity,
    Kick,
    PatchDeviceStatus,
    WriteIdentity,
    WriteIndex,
)
from tests.operator.model import World, fleet, identity

ACTIVE, REVOKED = IdentityState.ACTIVE, IdentityState.REVOKED


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


def test_what_is_refused_of_tokens_stands_in_the_registry_whatever_else_becomes_of_the_device() -> None:
    world = fleet("pi-1", "pi-2")
    world.edit_device("pi-1", tokens_after=1_800_000_000)
    world.settle()
    assert world.identities["sub-pi-1"].tokens_after == 1_800_000_000
    assert world.identities["sub-pi-2"].tokens_after == 0
    world.connect("pi-1")
    assert world.sessions == {("pi-1", "sub-pi-1")}, "nothing ends by itself"
    for revoked in (True, False):
        world.edit_device("pi-1", revoked=revoked)
        world.settle()
    assert world.identities["sub-pi-1"].tokens_after == 1_800_000_000


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
