"""A rotation, crashed everywhere: nobody is ever locked out, nothing is lost, and every state leads to an end."""

from __future__ import annotations

import pytest

from fleet.rotation import decide
from fleet.rotation.decide import Done, Guard
from fleet.secrets.store import Change
from tests.rotation.model import Switches, explore, start

WITHOUT = [
    (Change.PROMOTE, decide.everybody_answers, "locked out"),
    (Change.PROMOTE, decide.all_honour_the_next, "locked out"),
    (Change.RETIRE, decide.everybody_answers, "lost"),
    (Change.RETIRE, decide.all_use_the_current, "lost"),
    (Change.DROP, decide.everybody_answers, "lost"),
    (Change.DROP, decide.all_use_the_current, "lost"),
    (Done, decide.everybody_answers, "not dead"),
    (Done, decide.none_honours_another, "not dead"),
]


@pytest.mark.parametrize(("commands", "kills"), [(1, 2), (2, 0)], ids=["killed twice", "two at once"])
def test_every_state_is_safe_and_leads_to_an_end(commands: int, kills: int) -> None:
    found = explore(start(commands, kills=kills))
    assert not found.violation, found.told
    assert found.states > 1000


def test_an_authority_is_renewed_with_a_device_that_comes_and_goes() -> None:
    found = explore(start(1, device=True))
    assert not found.violation, found.told
    assert found.states > 1000


@pytest.mark.parametrize(
    ("switches", "harm"),
    [
        (Switches(asks_devices=False), ("locked out", "not dead")),
        (Switches(writes_before_it_reports=False), "locked out"),
    ],
    ids=["nobody asks devices", "it reports what it may lose"],
)
def test_what_is_asked_of_a_device_is_needed(switches: Switches, harm: str | tuple[str, ...]) -> None:
    found = explore(start(1, kills=0, device=True), switches)
    assert found.violation.startswith(harm), found.told


@pytest.mark.parametrize(
    ("step", "guard", "harm"), WITHOUT, ids=[f"{getattr(s, 'value', 'done')}-{g.__name__}" for s, g, _ in WITHOUT]
)
def test_each_guard_is_needed(
    step: Change | type[Done], guard: Guard, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tuple(one for one in decide.GUARDS[step] if one is not guard)
    assert len(left) == len(decide.GUARDS[step]) - 1
    monkeypatch.setattr(decide, "GUARDS", {**decide.GUARDS, step: left})
    assert explore(start(1)).violation.startswith(harm)


def test_every_guard_is_tried() -> None:
    assert {(step, guard) for step, guards in decide.GUARDS.items() for guard in guards} == {
        (step, guard) for step, guard, _ in WITHOUT
    }


@pytest.mark.parametrize("switches", [Switches(lease=False), Switches(compares=False)], ids=["lease", "compares"])
def test_the_lease_and_the_comparison_are_needed(switches: Switches) -> None:
    found = explore(start(2, kills=0), switches)
    assert found.violation.startswith(("locked out", "lost")), found.told
