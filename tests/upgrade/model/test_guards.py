"""Each guard is needed: without it, the exploration finds a counter-example, and prints it as a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest

from fleet.agent.upgrade.device import retain
from fleet.agent.upgrade.protocol import guards, journal, machine, table
from fleet.agent.upgrade.protocol import update as absorb
from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.effects import Write
from fleet.agent.upgrade.protocol.journal import (
    Candidate,
    Change,
    CountAttempt,
    FallBack,
    HandOver,
    Journal,
    Stage,
    StepDown,
)
from fleet.agent.upgrade.protocol.state import Phase, State
from fleet.contract.names import AgentVersion
from fleet.contract.wire import AgentTarget, Heartbeat
from fleet.operator.upgrade import decide
from fleet.operator.upgrade import guards as operator_guards
from fleet.operator.upgrade.view import Artifact, DeviceView
from tests.upgrade.model import base, launcher
from tests.upgrade.model.slices import Slice
from tests.upgrade.model.world import Budget, Nature, Pace, Switches

Patch = Callable[[pytest.MonkeyPatch], None]
Condition = Callable[[State], bool]
Staging = CountAttempt | HandOver | StepDown


def condition(guard: Condition, instead: Condition) -> Patch:
    """The table with another condition in the place of this one."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for phase, rows in table.BY_PHASE.items():
            changed = tuple(
                msgspec.structs.replace(row, when=tuple(instead if one is guard else one for one in row.when))
                for row in rows
            )
            monkeypatch.setitem(table.BY_PHASE, phase, changed)

    return patch


def no_deadline(*deadlines: Deadline) -> Patch:
    """The table without what these deadlines lead to."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for phase, rows in table.BY_PHASE.items():
            monkeypatch.setitem(table.BY_PHASE, phase, tuple(row for row in rows if row.on not in deadlines))

    return patch


def function(module: object, **instead: object) -> Patch:
    """Other functions in the place of those that hold the guard."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in instead.items():
            monkeypatch.setattr(module, name, value)

    return patch


def both(first: Patch, second: Patch) -> Patch:
    """Two places that hold the same guard."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        first(monkeypatch)
        second(monkeypatch)

    return patch


def in_the_switches(_monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard lies in what carries out the effects, so the model has a switch for it."""


def always(*_: object) -> bool:
    return True


def never(*_: object) -> bool:
    return False


def nothing(*_: object) -> set[AgentVersion]:
    return set()


def uncounted(candidate: Candidate, change: Staging) -> Candidate:
    return candidate if isinstance(change, CountAttempt) else staged(candidate, change)


def handed_over_anyhow(candidate: Candidate, change: Staging) -> Candidate:
    if isinstance(change, HandOver):
        return msgspec.structs.replace(candidate, stage=Stage.HANDED_OVER)
    return staged(candidate, change)


def applied_anyhow(before: Journal, change: Change) -> Journal:
    if isinstance(change, FallBack):
        return fallen_back(before, change, 0)
    return journal.apply(before, change)


def newest_order(state: State) -> AgentTarget | None:
    return state.target


def any_version(view: DeviceView, target: AgentTarget) -> Heartbeat | None:
    return next((beat for beat in view.beats if beat.generation == target.generation), None)


def any_instance(state: State) -> bool:
    target = guards.current(state)
    return target is not None and target.stop_instance != ""


def without_lock(state: State) -> Write:
    over = {Phase.YIELDING, Phase.PASSING, Phase.RETURNING, Phase.LEAVING, Phase.GONE}
    return Write(engine=state.phase not in over, reports=state.leased)


staged = journal._staged  # pyright: ignore[reportPrivateUsage]
fallen_back = journal._fallen_back  # pyright: ignore[reportPrivateUsage]


answers = operator_guards.answers


def only_what_is_wanted(target: AgentTarget, view: DeviceView, artifact: Artifact | None) -> bool:
    return not target.withdrawn and answers(target, view, artifact)


def by_the_clock_alone(view: DeviceView) -> bool:
    return view.grant_over


class Guard(NamedTuple):
    """A guard, how it is taken away, where that is felt, and what is found then."""

    name: str
    away: Patch
    felt: Slice
    found: str
    switches: Switches = Switches()


def felt(*natures: Nature, pace: Pace = Pace.PROMPT, **budget: int) -> Slice:
    return Slice("", Budget(**budget), natures or (Nature.GOOD,), pace)


GUARDS = (
    Guard("the journal's folder is synced", in_the_switches, felt(), "undo it", Switches(sync_journal=False)),
    Guard("bytes are synced before the marker", in_the_switches, felt(), "(d)", Switches(sync_files=False)),
    Guard("the launcher checks the digest", in_the_switches, felt(rot=1), "(a)", Switches(digest=False)),
    Guard(
        "a unit on its way out is started afresh",
        in_the_switches,
        felt(Nature.DIES_AS_WRITER),
        "(a) no agent",
        Switches(afresh=False),
    ),
    Guard("the journal says who is leaving", function(launcher, _leaving=never), felt(crashes=1), "(a) no agent"),
    Guard(
        "starts of a candidate are counted",
        function(journal, _staged=uncounted),
        felt(Nature.DIES_AT_RESTART, crashes=1),
        "no end is ever reached",
    ),
    Guard(
        "an order names an attempt",
        both(function(guards, current=newest_order), function(absorb, late=never)),
        felt(delays=1, changes_of_mind=1),
        "hands over to a candidate that was not heard",
    ),
    Guard(
        "a heartbeat names its version",
        function(operator_guards, proof=any_version),
        felt(Nature.SAYS_ANOTHER_VERSION),
        "hands over to a candidate that was not heard",
    ),
    Guard(
        "a heartbeat names its boot",
        function(operator_guards, _same_boot=always),
        felt(pace=Pace.ANY, crashes=1),
        "hands over to a candidate that was not heard",
    ),
    Guard(
        "an order to stop names an instance",
        condition(guards.told_to_stop, any_instance),
        felt(crashes=1),
        "hands over to a candidate that was not heard",
    ),
    Guard("a commit needs a confirmation", condition(guards.confirmed, always), felt(), "nobody confirmed it"),
    Guard(
        "the candidate and the old agent have deadlines of their own",
        no_deadline(Deadline.HEARTBEAT, Deadline.STOP, Deadline.STEP_DOWN),
        felt(operator_ends=1),
        "no end is ever reached",
    ),
    Guard(
        "a trial is held while NATS answers nobody",
        condition(guards.connected, always),
        felt(outages=1, pace=Pace.ANY),
        "NATS answers neither",
    ),
    Guard(
        "bad versions are remembered",
        condition(guards.known_bad, never),
        felt(Nature.DIES_AT_START, changes_of_mind=1),
        "known to be bad",
    ),
    Guard(
        "who stepped down is not handed over to",
        function(journal, _staged=handed_over_anyhow),
        felt(pace=Pace.ANY),
        "(a) no agent",
    ),
    Guard("what may be needed is kept", function(retain, needed=nothing), felt(crashes=1), "(d)"),
    Guard(
        "only the lock's holder changes containers", function(machine, writes=without_lock), felt(), "(b) two agents"
    ),
    Guard(
        "who fell back already does not fall back",
        function(base, apply=applied_anyhow),
        felt(rot=1, crashes=1),
        "(f) what is done twice",
    ),
    Guard(
        "an attempt that held the lock too long is told to turn back",
        both(function(operator_guards, overdue=never), function(decide, overdue=never)),
        felt(grants=1),
        "(g) the lock was held too long",
    ),
    Guard(
        "an attempt that held the lock too long is not ordered again",
        function(decide, answers=only_what_is_wanted),
        felt(grants=1),
        "(g) what held the lock too long begins again",
    ),
    Guard(
        "that it held the lock too long is written down",
        both(function(operator_guards, overdue=by_the_clock_alone), function(decide, overdue=by_the_clock_alone)),
        felt(grants=1, crashes=1),
        "(g) what held the lock too long is given it again",
    ),
    Guard("a candidate waits for the lease", in_the_switches, felt(tampers=1), "(b) two agents", Switches(lease=False)),
)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_without_it_there_is_a_counter_example(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    guard.away(monkeypatch)
    found = guard.felt.explore(guard.switches)
    print(f"Without '{guard.name}': {found}")  # noqa: T201 - the trace is what this test shows
    assert guard.found in found.violation, found
    assert found.trace
