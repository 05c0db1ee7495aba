"""The renewal of a machine key, crashed everywhere: the device is never locked out, and every state leads to an end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.rotation.devices import decide
from fleet.rotation.devices.decide import Guard, Step
from tests.rotation.key_model import Switches, World, explore

WORLDS = {
    "killed twice": World(kills=2, cuts=0, enrolls=0, begins=1),
    "killed once, and without power once": World(kills=1, cuts=1, enrolls=0, begins=1),
    "without power, and enrolled again": World(kills=0, cuts=1, enrolls=1, begins=1),
    "killed, and enrolled again": World(kills=1, cuts=0, enrolls=1, begins=1),
    "at a provider that stores another half": World(kills=0, cuts=0, enrolls=0, begins=2, swaps=1),
    "renewed twice, without power once": World(kills=0, cuts=1, enrolls=0, begins=2),
}
WITHOUT = [
    (Step.ORDER, decide.tells_its_key, "not renewed"),
    (Step.REMOVE, decide.comes_in_by_another, "locked out"),
    (Step.REMOVE, decide.the_provider_has_it, "locked out"),
    (Step.REFUSE, decide.comes_in_by_another, "not renewed"),
    (Step.FINISH, decide.its_tokens_are_refused, "not dead"),
    (Step.FORGET, decide.gave_up_its_offer, "locked out"),
    (Step.FORGET, decide.the_provider_has_it, "locked out"),
]
SWITCHES = [
    (Switches(proves=False), "locked out"),
    (Switches(says_its_offer_at_its_start=False), "locked out"),
    (Switches(removes_before_it_ends_sessions=False), "not dead"),
    (Switches(refuses_what_was_had_after_it_removes=False), "not dead"),
    (Switches(drops_its_order_last=False), "stuck"),
    (Switches(gives_up_before_it_says_so=False), "locked out"),
    (Switches(never_offers_what_it_uses=False), "stuck"),
]


def harm(switches: Switches = Switches()) -> Iterator[str]:  # noqa: B008 - immutable
    """What goes wrong in some world."""
    return (found.violation for world in WORLDS.values() if (found := explore(world, switches)).violation)


@pytest.mark.parametrize("name", WORLDS)
def test_every_state_is_safe_and_leads_to_an_end(name: str) -> None:
    found = explore(WORLDS[name])
    assert not found.violation, found.told
    assert found.states > 500


@pytest.mark.parametrize(
    ("step", "guard", "what"), WITHOUT, ids=[f"{step.name}-{guard.__name__}" for step, guard, _ in WITHOUT]
)
def test_each_guard_is_needed(step: Step, guard: Guard, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
