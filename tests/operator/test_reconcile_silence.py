"""While NATS is silent no status claims what cannot be known, and says since when nothing was heard."""

from __future__ import annotations

import math

from fleet.operator.reconcile.actions import PatchDeviceStatus
from fleet.operator.reconcile.guard import raised
from fleet.operator.reconcile.silence import silenced
from tests.operator.model import World, fleet

SINCE = "the operator has heard nothing from NATS since 2027-01-15T08:00:00Z"


def running(*names: str) -> World:
    world = fleet(*names)
    world.deploy("web")
    world.settle()
    world.report_all(names, "web")
    world.settle()
    return world


def fall_silent(world: World) -> None:
    world.silent_since = world.now
    world.excused = dict.fromkeys(world.devices, math.inf)


def tell(world: World) -> int:
    patches = silenced(world.snapshot(), raised)
    for patch in patches:
        world.apply(patch)
    return len(patches)


def test_nobody_is_online_beyond_the_bound_of_the_last_heartbeat() -> None:
    world = running("pi-1", "pi-2")
    fall_silent(world)
    assert tell(world) == 0, "what was heard is recent"
    world.now += 31
    assert tell(world) == 3
    for name in ("pi-1", "pi-2"):
        assert world.condition(name, "Online") == ("Unknown", "NatsSilent")
        assert world.message(name, "Online") == f"{SINCE}; until then its heartbeat was recent"
    world.now += 60
    assert tell(world) == 0, "it is said once"
    in_between = [action for action in world.plan() if isinstance(action, PatchDeviceStatus)]
    assert in_between == [], "a pass in between says the same"


def test_a_deployment_says_what_it_was_and_not_what_it_is() -> None:
    world = running("pi-1")
    before = world.deployments["web"].status
    fall_silent(world)
    world.now += 31
    world.deploy("web", "app:2")
    tell(world)
    status = world.deployments["web"].status
    assert world.condition("web", "Ready") == ("Unknown", "NatsSilent")
    assert world.message("web", "Ready") == f"{SINCE}; then it was True (AllReady)"
    assert (status.observed_generation, status.ready) == (before.observed_generation, before.ready), "not seen yet"
    assert {one.observed_generation for one in status.conditions} == {1}


def test_who_was_offline_before_is_so_still() -> None:
    world = running("pi-1", "pi-2")
    world.now += 31
    world.beat("pi-1")
    world.settle()
    world.silent_since = world.now
    world.excused = {"pi-1": math.inf}
    world.now += 31
    tell(world)
    assert world.condition("pi-1", "Online") == ("Unknown", "NatsSilent")
    assert world.condition("pi-2", "Online") == ("False", "HeartbeatMissed")


def test_after_it_a_device_has_its_usual_time_and_then_its_silence_counts() -> None:
    world = running("pi-1", "pi-2")
    fall_silent(world)
    world.now += 100
    tell(world)
    world.silent_since = 0
    world.excused = dict.fromkeys(world.devices, world.now + 30)
    world.beat("pi-1")
    world.settle()
    assert world.condition("pi-1", "Online") == ("True", "HeartbeatReceived")
    assert world.condition("pi-2", "Online") == ("Unknown", "NatsSilent")
    assert world.condition("web", "Ready") == ("True", "AllReady")
    world.now += 29
    world.beat("pi-1")
    assert world.plan() == ()
    world.now += 2
    world.settle()
    assert world.condition("pi-2", "Online") == ("False", "HeartbeatMissed")


def test_a_short_silence_in_which_a_heartbeat_was_missed_makes_nobody_offline() -> None:
    world = running("pi-1")
    world.now += 29
    world.excused = {"pi-1": world.now + 30}
    world.now += 2
    world.settle()
    assert world.condition("pi-1", "Online") == ("Unknown", "HeartbeatAwaited")
