"""An error that nobody foresaw, in the handling of one object, stays with that object."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import pytest

from fleet.contract.errors import InvalidInput, Unreachable
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.objects import DeviceStatus
from fleet.contract.wire import Container, Desired, DesiredIndex
from fleet.operator import reconcile as package
from fleet.operator.act import Actor
from fleet.operator.act.keys import Keys
from fleet.operator.act.session_dropper import SessionDropper
from fleet.operator.act.writer import Writer
from fleet.operator.metrics import Metrics
from fleet.operator.plan import alarms, locks
from fleet.operator.plan.changes import Changes
from fleet.operator.plan.group import Group
from fleet.operator.plan.locks import Locks
from fleet.operator.plan.planner import Plan, Planner
from fleet.operator.plan.roster import Roster
from fleet.operator.plan.subject_claims import SubjectClaims
from fleet.operator.reconcile import Action, reconcile
from fleet.operator.reconcile.actions import (
    DeleteDesired,
    PatchDeploymentStatus,
    PatchDeviceStatus,
    WriteDesired,
    WriteIdentity,
    WriteIndex,
    WriteTarget,
)
from fleet.operator.reconcile.devices import reconcile_device
from fleet.operator.reconcile.guard import Guard, Trouble, raised
from fleet.operator.upgrade.view import Artifact
from tests.operator.model import World, fleet


def test_a_device_whose_handling_fails_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_for_one(snapshot: object, device: object, *rest: object) -> list[Action]:
        if device is world.devices["pi-2"]:
            raise ValueError("Exceeds the limit (4300 digits)")
        return reconcile_device(snapshot, device, *rest)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    world = fleet("pi-1", "pi-2", "pi-3")
    world.edit_device("pi-1", revoked=True)
    world.edit_device("pi-3", revoked=True)
    everything = reconcile(world.snapshot())
    monkeypatch.setattr(package, "reconcile_device", fails_for_one)
    troubled: list[tuple[str, str]] = []
    rest = reconcile(world.snapshot(), lambda kind, name, _: troubled.append((kind, name)))
    assert troubled == [("Device", "pi-2")]
    assert rest == everything, "nothing was to be done for the one that fails"
    assert rest


@pytest.mark.parametrize(("part", "method"), [(SubjectClaims, "admit"), (Locks, "lead"), (Roster, "wanted")])
def test_whatever_part_fails_for_one_device_the_others_are_revoked_and_enrolled(
    part: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    for name in ("pi-1", "pi-2", "pi-3"):
        world.edit_device(name, revoked=True)
    real = getattr(part, method)

    def fails_for_one(self: object, snapshot: object, name: str) -> object:
        if name == "pi-2":
            raise ValueError("Exceeds the limit (4300 digits)")
        return real(self, snapshot, name)

    monkeypatch.setattr(part, method, fails_for_one)
    troubled: list[tuple[str, str]] = []
    plan = Planner(Changes()).plan(world.snapshot(), lambda kind, name, _: troubled.append((kind, name)))
    assert troubled == [("Device", "pi-2")]
    denied = {action.subject for action in plan.actions if isinstance(action, WriteIdentity)}
    assert denied == {"sub-pi-1", "sub-pi-3"} | ({"sub-pi-2"} if part is not SubjectClaims else set())


UPKEEP = [
    (Roster, "_index_running", "pi-2", "Device"),
    (Roster, "_join", "pi-2", "Device"),
    (Group, "put", "pi-2", "Device"),
    (SubjectClaims, "_claim", "pi-2", "Device"),
    (locks, "_view", "pi-2", "Device"),
    (alarms, "_next", "pi-2", "Device"),
    (Roster, "_changed", "bad", "FleetDeployment"),
    (Roster, "_add", "bad", "FleetDeployment"),
]


@pytest.mark.parametrize(("part", "method", "name", "kind"), UPKEEP, ids=lambda it: getattr(it, "__name__", it))
def test_an_index_that_cannot_take_in_one_object_takes_in_the_others(
    part: object, method: str, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    for deployment in ("web", "bad"):
        world.deploy(deployment)
    world.settle()
    world.published[AgentVersion("v0.2.0")] = Artifact(Digest("sha256:" + "0" * 64), 5)
    for device in ("pi-1", "pi-2", "pi-3"):
        world.edit_device(device, agent_version="v0.2.0")
    before = planned(world, raised)
    fails(monkeypatch, part, method, name)
    troubled: set[tuple[str, str]] = set()
    after = planned(world, lambda kind, name, _: troubled.add((kind, name)))
    assert troubled == {(kind, name)}
    assert [it for it in before if name not in repr(it)] == [it for it in after if name not in repr(it)]
    assert {it.device for it in after if isinstance(it, WriteTarget)} >= {"pi-1", "pi-3"}, "something was to be done"
    assert not [it for it in after if isinstance(it, WriteIndex | DeleteDesired)], "what runs goes on"


def planned(world: World, trouble: Trouble) -> list[Action]:
    """Everything is decided anew while an upgrade is wanted, and once more when time alone calls for it."""
    for device in ("pi-1", "pi-2", "pi-3"):
        world.beat(device)
    planner = Planner(Changes())
    first = planner.plan(world.snapshot(), trouble).actions
    later = msgspec.structs.replace(world.snapshot(), clock=world.now + 1000, now=world.now + 1000)
    second = planner.plan(later, trouble).actions
    return [it for it in (*first, *second) if not isinstance(it, PatchDeploymentStatus)]


def untold(kind: str, name: str, error: Exception) -> None:
    """A `Trouble` that is told nobody."""


def fails(monkeypatch: pytest.MonkeyPatch, part: object, method: str, name: str) -> None:
    """Have a method raise whenever one of its arguments is, or is about, `name`."""
    real = getattr(part, method)

    def maybe(*arguments: object, **named: object) -> object:
        if any(it == name or (isinstance(it, Group) and it.deployment.metadata.name == name) for it in arguments[1:]):
            raise ValueError("Exceeds the limit (4300 digits)")
        return real(*arguments, **named)

    monkeypatch.setattr(part, method, maybe)


def test_a_deployment_whose_next_devices_cannot_be_picked_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fleet("pi-1")
    for deployment in ("web", "bad"):
        world.deploy(deployment)
    real = Group.select

    def fails_for_one(self: Group) -> frozenset[str]:
        if self.deployment.metadata.name == "bad":
            raise ValueError("Exceeds the limit (4300 digits)")
        return real(self)

    monkeypatch.setattr(Group, "select", fails_for_one)
    troubled: list[tuple[str, str]] = []
    plan = Planner(Changes()).plan(world.snapshot(), lambda kind, name, _: troubled.append((kind, name)))
    assert troubled == [("FleetDeployment", "bad")]
    assert any("web" in repr(action) for action in plan.actions)


def test_a_device_that_cannot_be_judged_keeps_no_place_among_those_that_upgrade(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Locks(Guard(untold))
    world = fleet("pi-2")
    world.edit_device("pi-2", agent_version=AgentVersion("v1.0.0"))
    monkeypatch.setattr(locks, "holds_lock", bool)
    kept.devices_changed(world.snapshot(), ["pi-2"])
    assert kept.held == 1
    fails(monkeypatch, locks, "_view", "pi-2")
    kept.devices_changed(world.snapshot(), ["pi-2"])
    assert kept.held == 0


class Acted:
    """Stands for the keys; what is refused, and what was done."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.done: list[Action] = []

    async def write_desired(self, actions: list[Action]) -> list[Exception | None]:
        refused = [isinstance(action, WriteDesired) and action.device == "pi-2" for action in actions]
        if any(refused) and not isinstance(self.error, InvalidInput):
            raise self.error
        self.done += [action for action, no in zip(actions, refused, strict=True) if not no]
        return [self.error if no else None for no in refused]


class Wanted:
    """Stands for the writer of Kubernetes objects."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.decided: set[tuple[str, str]] = set()

    def key(self, action: PatchDeviceStatus) -> tuple[str, str]:
        return "Device", action.name

    def hold_details(self, *, held: bool) -> None:
        del held

    def replace(self, actions: list[PatchDeviceStatus], decided: set[tuple[str, str]]) -> None:
        self.names, self.decided = [action.name for action in actions], set(decided)


def orders() -> Plan:
    desired = Desired(1, Container("busybox"))
    names = ("pi-1", "pi-2", "pi-3")
    actions: list[Action] = [WriteDesired(name, "web", desired) for name in names]
    actions += [WriteIndex(name, DesiredIndex({"web": 1})) for name in names]
    actions += [PatchDeviceStatus(name, DeviceStatus()) for name in names]
    return Plan(actions, frozenset(("Device", name) for name in names), more=False)


def carried_out(error: Exception) -> tuple[Acted, Wanted, list[tuple[str, str]], frozenset[tuple[str, str]]]:
    acted, wanted, troubled = Acted(error), Wanted(), list[tuple[str, str]]()
    actor = Actor(cast("Keys", acted), cast("Writer", wanted), cast("SessionDropper", None), Metrics())
    failed = asyncio.run(actor.carry_out(orders(), lambda kind, name, _: troubled.append((kind, name))))
    return acted, wanted, troubled, frozenset(failed)


@pytest.mark.parametrize("error", [InvalidInput("it is too large", next_step="-"), ValueError("nobody foresaw it")])
def test_a_key_that_is_refused_is_its_devices_trouble(error: Exception) -> None:
    acted, wanted, troubled, failed = carried_out(error)
    assert troubled == [("Device", "pi-2")]
    assert failed == {("Device", "pi-2")}
    assert {it.device for it in acted.done if isinstance(it, WriteIndex)} == {"pi-1", "pi-3"}, "entry first"
    assert wanted.names == ["pi-1", "pi-3"], "no status says what was not done"
    assert wanted.decided == {("Device", "pi-1"), ("Device", "pi-3")}


def test_a_nats_that_does_not_answer_ends_the_pass() -> None:
    with pytest.raises(Unreachable):
        carried_out(Unreachable("NATS did not answer", next_step="-"))
