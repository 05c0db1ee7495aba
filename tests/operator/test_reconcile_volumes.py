"""Orders to remove volumes: sent until they are answered, told of, and taken out once they are over."""

from __future__ import annotations

import msgspec
import pytest

from fleet.contract.change import PATCHED, Change, change_of
from fleet.contract.volumes import VolumeOrder, VolumeOutcome
from fleet.operator.reconcile.actions import Action, ClearVolumeOrders, Note, PatchDeviceStatus, WriteIndex
from tests.operator.model import INFO, World, fleet

DATA, CACHE = VolumeOrder("web", "data", "1f", "a1"), VolumeOrder("web", "cache", "2f", "b2", former="pi-0@12ab")


def ordered(*orders: VolumeOrder) -> World:
    world = fleet("pi-1")
    world.deploy("web")
    world.settle()
    world.edit_device("pi-1", remove_volumes=orders)
    return world


def answers(world: World, *outcomes: VolumeOutcome) -> list[Action]:
    world.infos["pi-1"] = msgspec.structs.replace(INFO, volume_outcomes=outcomes)
    return world.settle()


def sent(world: World) -> tuple[VolumeOrder, ...]:
    return world.indexes["pi-1"].remove_volumes


def told(actions: list[Action]) -> list[Note]:
    return [
        note
        for one in actions
        if isinstance(one, PatchDeviceStatus)
        for note in one.notes
        if note.reason.startswith("Volume")
    ]


def test_an_order_is_sent_and_told_of_until_it_is_answered() -> None:
    world = ordered(DATA, CACHE)
    world.settle()
    assert sent(world) == (DATA, CACHE)
    assert world.condition("pi-1", "VolumesOrdered") == ("True", "NotAnswered")
    assert world.message("pi-1", "VolumesOrdered") == (
        "to be removed, and not answered yet: data of web (change a1), "
        "cache of web of the former identity pi-0@12ab (change b2)"
    )
    actions = answers(world, VolumeOutcome("a1", "Removed"))
    assert ClearVolumeOrders("pi-1") in actions
    assert sent(world) == world.devices["pi-1"].spec.remove_volumes == (CACHE,)
    assert "data" not in world.message("pi-1", "VolumesOrdered")
    answers(world, VolumeOutcome("a1", "Removed"), VolumeOutcome("b2", "InUse", "web mounts it"))
    assert sent(world) == world.devices["pi-1"].spec.remove_volumes == ()
    assert all(one.type != "VolumesOrdered" for one in world.devices["pi-1"].status.conditions)


def test_the_outcome_is_in_the_status_before_the_order_goes() -> None:
    """Whoever waits for it finds it there, and an operator that ends in between finds the order."""
    world = ordered(DATA)
    world.settle()
    actions = answers(world, VolumeOutcome("a1", "Removed"))
    (patched, *_) = [number for number, one in enumerate(actions) if isinstance(one, PatchDeviceStatus)]
    assert actions.index(ClearVolumeOrders("pi-1")) > patched
    info = world.devices["pi-1"].status.info
    assert info is not None
    assert info.volume_outcomes == (VolumeOutcome("a1", "Removed"),)


def test_an_answered_order_is_not_sent_again_while_it_stands() -> None:
    """An agent that is started anew remembers no outcome, and would answer that there is no such volume."""
    world = ordered(DATA)
    world.settle()
    world.infos["pi-1"] = msgspec.structs.replace(INFO, volume_outcomes=(VolumeOutcome("a1", "Removed"),))
    (index,) = [one for one in world.plan() if isinstance(one, WriteIndex)]
    assert index.index.remove_volumes == ()


@pytest.mark.parametrize(
    ("outcome", "note"),
    [
        (
            VolumeOutcome("a1", "Removed"),
            Note(
                "Normal",
                "VolumeRemoved",
                "data of web is removed, as ordered by ada with `fleet device remove-volume` (change a1)",
            ),
        ),
        (
            VolumeOutcome("a1", "InUse", "it is used by web"),
            Note(
                "Warning",
                "VolumeNotRemoved",
                "data of web is not removed: InUse: it is used by web; it was ordered "
                "by ada with `fleet device remove-volume` (change a1)",
            ),
        ),
    ],
    ids=["removed", "used"],
)
def test_the_event_says_who_ordered_it_and_what_happened(outcome: VolumeOutcome, note: Note) -> None:
    world = ordered(DATA)
    device = world.devices["pi-1"]
    by = Change("a1", device.metadata.generation, "fleet device remove-volume", "ada")
    meta = msgspec.structs.replace(device.metadata, annotations={PATCHED: by.annotation})
    world.devices["pi-1"] = msgspec.structs.replace(device, metadata=meta)
    assert told(world.settle()) == []
    assert told(answers(world, outcome)) == [note]
    assert told(answers(world)) == [], "an agent that forgot it makes no news of it"
    change = change_of(world.devices["pi-1"].metadata)
    assert change is not None
    assert (change.id, change.by) == ("a1", "the operator"), "who took the order out"


def test_an_outcome_of_an_order_that_nobody_gave_is_no_news() -> None:
    world = ordered()
    assert told(answers(world, VolumeOutcome("c3", "Removed"))) == []


def test_a_cordoned_device_is_sent_it_too() -> None:
    """It keeps changes of deployments back, and this is an order that names the device."""
    world = ordered(DATA)
    world.edit_device("pi-1", cordoned=True)
    world.settle()
    assert sent(world) == (DATA,)
