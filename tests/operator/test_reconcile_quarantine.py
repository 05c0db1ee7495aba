"""A device in quarantine: how long, who ends it, and what is told of it."""

from __future__ import annotations

import msgspec

from fleet.contract.wire import Identity, IdentityState
from fleet.operator.reconcile.actions import Kick, PatchDeviceStatus, WriteIdentity
from fleet.operator.reconcile.quarantine import quarantined
from tests.operator.model import World, fleet, identity

SUBJECT = "sub-pi-1"
DAY = 86_400


def flood(world: World) -> Identity:
    """The device floods, and is shut out as `Quarantines` does it."""
    shut_out = quarantined(world.identities[SUBJECT], world.devices["pi-1"], "it wrote 9 messages", world.now)
    world.identities[SUBJECT] = shut_out
    return shut_out


def wait(world: World, seconds: float) -> None:
    world.now += seconds
    world.beat("pi-1")
    world.settle()


def test_it_is_kept_out_for_a_while_and_let_in_again_by_itself() -> None:
    world = fleet("pi-1")
    world.connect("pi-1")
    shut_out = flood(world)
    assert not shut_out.admitted(world.now)
    actions = world.settle()
    assert Kick("pi-1", frozenset({SUBJECT}), banned=True) in actions
    assert world.sessions == set()
    assert world.identities[SUBJECT] == shut_out
    assert world.condition("pi-1", "Quarantined") == ("True", "Throttled")
    assert world.condition("pi-1", "Enrolled") == ("True", "IdentityRegistered")
    wait(world, 11)
    assert world.identities[SUBJECT].state is IdentityState.ACTIVE
    assert world.condition("pi-1", "Quarantined") == ("False", "Over")


def test_the_callout_lets_it_in_when_the_time_is_over_even_without_the_operator() -> None:
    world = fleet("pi-1")
    shut_out = flood(world)
    assert not shut_out.admitted(world.now + 9)
    assert shut_out.admitted(world.now + 10)


def test_the_third_time_within_a_day_only_an_admin_ends_it() -> None:
    world = fleet("pi-1")
    for seconds in (10, 60):
        assert not flood(world).admitted(world.now + seconds - 1)
        world.settle()
        wait(world, seconds + 1)
    flood(world)
    world.settle()
    assert world.condition("pi-1", "Quarantined") == ("True", "Flooding")
    wait(world, 30 * DAY)
    assert world.condition("pi-1", "Quarantined") == ("True", "Flooding")
    world.edit_device("pi-1", released=1)
    actions = world.settle()
    assert WriteIdentity(SUBJECT, identity("pi-1")) in actions
    assert world.condition("pi-1", "Quarantined") == ("False", "Released")
    told = [note for one in actions if isinstance(one, PatchDeviceStatus) for note in one.notes]
    assert [(note.type, note.reason) for note in told] == [("Normal", "GenerationOrdered"), ("Normal", "Released")]
    assert flood(world).quarantine
    assert world.identities[SUBJECT].admitted(world.now + 10), "it counts from the beginning"


def test_a_rotation_of_its_key_is_kept_by_a_device_that_is_shut_out() -> None:
    world = fleet("pi-1")
    world.edit_device("pi-1", tokens_after=1_800_000_000)
    world.settle()
    assert flood(world).tokens_after == 1_800_000_000
    world.edit_device("pi-1", tokens_after=1_800_000_009)
    world.settle()
    assert world.identities[SUBJECT].state is IdentityState.QUARANTINED
    assert world.identities[SUBJECT].tokens_after == 1_800_000_009


def test_an_offence_is_forgotten_after_a_day() -> None:
    world = fleet("pi-1")
    flood(world)
    world.settle()
    wait(world, DAY + 1)
    assert world.identities[SUBJECT] == identity("pi-1")
    assert flood(world).admitted(world.now + 10)


def test_a_device_in_quarantine_can_be_revoked_and_enrolled_anew() -> None:
    world = fleet("pi-1")
    flood(world)
    world.settle()
    world.edit_device("pi-1", revoked=True)
    world.settle()
    assert world.identities[SUBJECT] == identity("pi-1", IdentityState.REVOKED)
    assert world.condition("pi-1", "Revoked") == ("True", "SessionsDropped")
    world.edit_device("pi-1", revoked=False, subject="sub-new")
    world.settle()
    assert world.identities == {"sub-new": identity("pi-1")}
    assert world.condition("pi-1", "Quarantined") == ("False", "Released")


def test_an_operator_that_was_just_started_ends_the_sessions_again_and_lifts_nothing() -> None:
    world = fleet("pi-1")
    shut_out = flood(world)
    world.settle()
    world.restart()
    world.sessions.add(("pi-1", SUBJECT))
    (kick,) = world.settle()
    assert isinstance(kick, Kick)
    assert world.sessions == set()
    assert world.identities[SUBJECT] == shut_out


def test_a_device_that_never_flooded_has_no_such_condition() -> None:
    world = fleet("pi-1")
    assert "Quarantined" not in {one.type for one in world.devices["pi-1"].status.conditions}


def test_an_entry_without_a_reason_lets_nobody_in() -> None:
    world = fleet("pi-1")
    bare = msgspec.structs.replace(world.identities[SUBJECT], state=IdentityState.QUARANTINED)
    assert not bare.admitted(world.now)
