"""What a status tells, and when it is written."""

from __future__ import annotations

import msgspec

from fleet.contract.wire import Phase
from fleet.operator.clocks import Clocks
from fleet.operator.reconcile.actions import (
    PatchDeviceStatus,
)
from tests.operator.model import INFO, World, fleet


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
    """Whatever interval it says, three times two minutes of silence are an end."""
    world = fleet("pi-1")
    heard = world.heard["pi-1"]
    year = msgspec.structs.replace(heard.heartbeat, interval=365 * 24 * 3600.0)
    world.heard["pi-1"] = msgspec.structs.replace(heard, heartbeat=year)
    world.now += 3 * 120 + 1
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


def test_a_clock_that_is_wrong_is_said_with_the_difference() -> None:
    world = fleet("pi-1", "pi-2")
    world.clocks = {"pi-1": -3725.4}
    world.settle()
    assert world.condition("pi-1", "ClockDiffers") == ("True", "ClockWrong")
    assert world.message("pi-1", "ClockDiffers") == "its clock is 3725 s behind that of NATS"
    assert "ClockDiffers" not in {one.type for one in world.devices["pi-2"].status.conditions}
    world.clocks = {}
    world.settle()
    assert "ClockDiffers" not in {one.type for one in world.devices["pi-1"].status.conditions}


def test_a_clock_is_told_when_it_is_wrong_and_when_it_moves() -> None:
    clocks = Clocks()
    told = [clocks.put("pi-1", ahead) for ahead in (0, 59, -60, 61, 65, 72, 72, 58, 51, 62, 49, -3600)]
    assert told == [False, False, False, True, False, True, False, True, False, False, True, True]
    assert clocks.ahead == {"pi-1": -3600}


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
    assert [note.reason for note in patch.notes] == ["GenerationOrdered"]
