"""What is written next, and how often: the queue and its bounds, without a clock or a server."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fleet.contract.names import AgentVersion
from fleet.contract.objects import Condition, DeploymentStatus, DeviceStatus
from fleet.contract.wire import DeviceInfo
from fleet.operator.act.pace import Key, Urgency, urgency
from fleet.operator.act.queue import PendingWrite, Queue
from fleet.operator.new_condition import Truth
from fleet.operator.reconcile.actions import PatchDeploymentStatus, PatchDeviceStatus, RemoveFinalizer

INFO = DeviceInfo(AgentVersion("v0.1.0"), "arm64", "Debian 12", "6.1", 1, 1, "boot")
PI: Key = ("Device", "pi-1")


def condition(kind: str, status: Truth = "True", *, generation: int = 1, since: str = "1") -> Condition:
    return Condition(kind, status, "Because", "", since, generation)


def status(*conditions: Condition, info: DeviceInfo | None = INFO, **fields: object) -> DeviceStatus:
    return msgspec.structs.replace(DeviceStatus(info=info, conditions=conditions), **fields)


def test_what_an_admin_did_comes_before_transitions_and_these_before_details() -> None:
    online, enrolled = condition("Online"), condition("Enrolled")
    before = status(online, enrolled)
    assert urgency(before, status(online, condition("Enrolled", "False"))) is Urgency.ADMIN
    assert urgency(before, status(condition("Online", generation=2), enrolled)) is Urgency.ADMIN
    assert urgency(before, status(condition("Online", "False"), enrolled)) is Urgency.TRANSITION
    assert urgency(before, status(online, enrolled, condition("Upgraded"))) is Urgency.TRANSITION
    assert urgency(status(online, enrolled, info=None), before) is Urgency.TRANSITION
    assert urgency(before, status(online, enrolled, info=msgspec.structs.replace(INFO, arch="x"))) is Urgency.DETAIL
    assert urgency(DeploymentStatus(1, ready=1), DeploymentStatus(1, ready=2)) is Urgency.DETAIL


def pending_write(arch: str, how: Urgency = Urgency.DETAIL, name: str = "pi-1") -> PendingWrite:
    said = msgspec.structs.replace(INFO, arch=arch)
    return PendingWrite(PatchDeviceStatus(name, status(info=said)), how, "uid", 1)


def test_details_of_devices_wait_while_devices_are_told_what_to_run_but_not_for_ever() -> None:
    queue = Queue()
    counts = PendingWrite(PatchDeploymentStatus("web", DeploymentStatus(1, ready=2)), Urgency.DETAIL, "uid", 1)
    queue.hold_details(0.0, held=True)
    queue.put(PI, pending_write("a"), 0.0)
    queue.put(("Device", "pi-2"), pending_write("a", Urgency.TRANSITION, "pi-2"), 0.0)
    queue.put(("FleetDeployment", "web"), counts, 0.0)
    taken = [queue.take(0.0), queue.take(0.0)]
    assert [it and it[0][1] for it in taken] == ["pi-2", "web"]
    assert queue.take(0.0) is None
    queue.hold_details(5.0, held=True)
    due = queue.next_due(5.0)
    assert due is not None
    assert 0.0 < due <= 10.0, "however long it is held"
    assert queue.take(5.0) is None
    assert queue.take(due) == (PI, pending_write("a"))
    queue.put(("Device", "pi-3"), pending_write("a", name="pi-3"), due)
    queue.hold_details(due, held=True)
    assert queue.take(due), "a fleet that never rests holds nothing any more"


def test_details_go_on_as_soon_as_nothing_is_to_be_told() -> None:
    queue = Queue()
    queue.hold_details(0.0, held=True)
    queue.put(PI, pending_write("a"), 0.0)
    assert queue.take(0.0) is None
    queue.hold_details(0.0, held=False)
    assert queue.take(0.0) == (PI, pending_write("a"))
    assert queue.next_due(0.0) is None


def written(queue: Queue, until: float, size: int = 2000) -> list[PendingWrite]:
    """What is written when everything due is, at once, until a time."""
    done: list[PendingWrite] = []
    now = 0.0
    while now <= until:
        while found := queue.take(now):
            queue.wrote(found[0], size, now)
            done.append(found[1])
        due = queue.next_due(now)
        if due is None:
            return done
        now = due
    return done


def flood(queue: Queue, seconds: float, how: Urgency, size: int = 2000) -> list[PendingWrite]:
    """A device says something else a hundred times a second."""
    done: list[PendingWrite] = []
    for tick in range(int(seconds * 100)):
        now = tick / 100
        queue.put(PI, pending_write(str(tick), how), now)
        while found := queue.take(now):
            queue.wrote(found[0], size, now)
            done.append(found[1])
    return done


def test_a_device_that_says_something_else_all_the_time_is_written_seldom_and_truly_in_the_end() -> None:
    queue = Queue()
    done = flood(queue, 100, Urgency.DETAIL)
    assert 10 <= len(done) <= 3 + 10
    assert written(queue, until=200)[-1:] == [pending_write("9999")], "the last of it is written"


def test_its_transitions_are_bounded_too_but_not_what_an_admin_did() -> None:
    assert len(flood(Queue(), 100, Urgency.TRANSITION)) <= 10 + 50
    assert len(flood(Queue(), 10, Urgency.ADMIN)) == 1000


def test_bytes_are_bounded_over_both() -> None:
    done = flood(Queue(), 100, Urgency.TRANSITION, size=32 * 1024)
    assert len(done) * 32 * 1024 <= 256 * 1024 + 100 * 4096 + 32 * 1024


def test_a_flooding_device_holds_up_no_other() -> None:
    queue = Queue()
    flood(queue, 50, Urgency.TRANSITION)
    queue.put(("Device", "pi-2"), pending_write("a", Urgency.TRANSITION, "pi-2"), 50)
    queue.put(("Device", "pi-3"), pending_write("a", Urgency.ADMIN, "pi-3"), 50)
    queue.put(
        ("FleetDeployment", "web"),
        PendingWrite(PatchDeploymentStatus("web", DeploymentStatus()), Urgency.TRANSITION, "", 1),
        50,
    )
    taken: list[str] = []
    while found := queue.take(50):
        taken.append(found[0][1])
    assert [name for name in taken if name != "pi-1"] == ["pi-3", "web", "pi-2"]


def test_what_differs_only_in_times_is_not_written_again() -> None:
    queue = Queue()
    first = PendingWrite(
        PatchDeviceStatus("pi-1", status(condition("Online", since="1"))), Urgency.TRANSITION, "uid", 1
    )
    later = PendingWrite(
        PatchDeviceStatus("pi-1", status(condition("Online", since="2"))), Urgency.TRANSITION, "uid", 1
    )
    queue.put(PI, first, 0)
    queue.put(PI, later, 0)
    assert queue.take(0) == (PI, first)
    queue.put(PI, later, 0)
    queue.wrote(PI, 1, 0)
    assert queue.take(0) is None


def test_a_failed_write_waits_and_what_an_admin_does_meanwhile_does_not() -> None:
    queue = Queue()
    queue.put(PI, pending_write("a"), 0)
    assert queue.take(0)
    queue.failed(PI, 0, delay=60)
    assert queue.take(59) is None
    queue.put(PI, PendingWrite(RemoveFinalizer("Device", "pi-1"), Urgency.ADMIN, "uid", 1), 59)
    found = queue.take(59)
    assert found
    assert isinstance(found[1].action, RemoveFinalizer)


def test_what_is_dropped_under_way_is_not_tried_again() -> None:
    queue = Queue()
    queue.put(PI, pending_write("a"), 0)
    assert queue.take(0)
    queue.drop(PI)
    queue.failed(PI, 0, delay=1)
    assert (queue.take(100), queue.pending) == (None, {})
    queue.put(PI, pending_write("b"), 100)
    assert queue.take(100)
    queue.drop(PI)
    queue.put(PI, pending_write("b"), 100)
    queue.failed(PI, 100, delay=1)
    assert queue.take(101) == (PI, pending_write("b")), "it was wanted again meanwhile"


STEP = st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from(Urgency), st.sampled_from("wtdfo"))


@given(st.lists(STEP, max_size=60))
def test_whatever_happens_the_last_state_is_written_in_the_end(steps: list[tuple[str, int, Urgency, str]]) -> None:
    queue, now = Queue(), 0.0
    last: dict[Key, PendingWrite] = {}
    under_way: dict[Key, PendingWrite] = {}
    told: dict[Key, PendingWrite] = {}
    for name, value, how, step in steps:
        key: Key = ("Device", name)
        now += 0.1
        if step == "w":
            last[key] = pending_write(str(value), how, name)
            queue.put(key, last[key], now)
        elif step == "d":
            last.pop(key, None)
            queue.drop(key)
        elif step == "t" and (found := queue.take(now)):
            under_way[found[0]] = found[1]
        elif step == "f" and under_way.pop(key, None):
            queue.failed(key, now, 5)
        elif step == "o" and key in under_way:
            told[key] = under_way.pop(key)
            queue.wrote(key, 100, now)
    for key in list(under_way):
        told[key] = under_way.pop(key)
        queue.wrote(key, 100, now)
    now += 10_000
    while found := queue.take(now):
        told[found[0]] = found[1]
        queue.wrote(found[0], 100, now)
    for key, wanted in last.items():
        assert told[key].action == wanted.action
    assert (queue.pending, queue.under_way) == ({}, {})
