"""The release key followed by another one, crashed everywhere and by an ill-meant server: no key comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.rotation.decide import Goal
from fleet.rotation.release import decide
from fleet.rotation.release.decide import Done, Guard, Step
from tests.rotation.release_model import Device, Switches, World, explore

ALONE = (Device(),)
WORLDS = {
    "killed twice": World(devices=ALONE, kills=2),
    "a device of a former release": World(devices=(Device(), Device(lists=False, said=None)), kills=0, begins=1),
    "two commands at once": World(devices=ALONE, at_once=2, kills=0),
    "a server that replays, and a kill": World(devices=ALONE, replays=1, begins=1),
    "a server that makes a list, and a kill": World(devices=ALONE, forgeries=1, begins=1),
    "a device that is left behind": World(devices=(Device(), Device(behind=True)), kills=0, begins=1),
    "a server that replays after the way back": World(devices=ALONE, replays=1, kills=0),
    "two devices": World(kills=0, begins=1, goals=(Goal.FORWARD,)),
}
WITHOUT: list[tuple[Step | type[Done], Guard, str]] = [
    (Step.RETIRE, decide.all_have_the_list, "stuck"),
    (Done, decide.all_have_the_list, "not dead"),
]
SWITCHES = [
    (Switches(proves=False), "taken over"),
    (Switches(counts=False), "brought back"),
    (Switches(takes_in_order=False), "stuck"),
    (Switches(compares_before_it_writes=False), "endless"),
    (Switches(keeps_what_a_device_lacks=False), "stuck"),
    (Switches(writes_its_own_list_first=False), "stuck"),
    (Switches(compares_its_own_list=False), "stuck"),
]


def harm(switches: Switches = Switches()) -> Iterator[str]:  # noqa: B008 - immutable
    """What goes wrong in some world."""
    return (found.violation for world in WORLDS.values() if (found := explore(world, switches)).violation)


@pytest.mark.parametrize("name", WORLDS)
def test_every_state_is_safe_and_leads_to_an_end(name: str) -> None:
    found = explore(WORLDS[name])
    assert not found.violation, found.told
    assert found.states > 50


@pytest.mark.parametrize(("step", "guard", "what"), WITHOUT, ids=["RETIRE-all_have_the_list", "Done-all_have_the_list"])
def test_each_guard_is_needed(
    step: Step | type[Done], guard: Guard, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tuple(one for one in decide.GUARDS[step] if one is not guard)
    assert len(left) == len(decide.GUARDS[step]) - 1
    monkeypatch.setattr(decide, "GUARDS", {**decide.GUARDS, step: left})
    assert any(one.startswith(what) for one in harm())


def test_every_guard_is_tried() -> None:
    assert {(step, guard) for step, guards in decide.GUARDS.items() for guard in guards} == {
        (step, guard) for step, guard, _ in WITHOUT
    }


@pytest.mark.parametrize(
    ("switches", "what"),
    SWITCHES,
    ids=["-".join(name for name in Switches._fields if not getattr(switches, name)) for switches, _ in SWITCHES],
)
def test_each_habit_is_needed(switches: Switches, what: str) -> None:
    assert any(one.startswith(what) for one in harm(switches))


def test_every_habit_is_tried() -> None:
    assert {name for name in Switches._fields for one, _ in SWITCHES if not getattr(one, name)} == set(Switches._fields)
