"""The agent's upgrade machine: events in, effects out, nothing else.

`begin` is a process's first step, `step` every further one. What it knows is in `state` and `absorb`, when it goes
where in `table` and `guards`, what it does there in `entry`, what others see of it in `outward`; here is how they turn.
Time comes in as events, too: `Arm` asks for a deadline, `Passed` says that it is over.
"""

from __future__ import annotations

import msgspec

from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.effects import Arm, Effect, Report, Retain, TakeLease
from fleet.agent.upgrade.protocol.events import Event, JobFailed, LeaseLost, NotRecorded, Passed, UnitFailed
from fleet.agent.upgrade.protocol.guards import on_trial, versions_kept
from fleet.agent.upgrade.protocol.journal import BadJournal, Journal
from fleet.agent.upgrade.protocol.on_enter import on_enter
from fleet.agent.upgrade.protocol.reporting import beats_as, status, writes
from fleet.agent.upgrade.protocol.state import AgentProcess, Phase, State
from fleet.agent.upgrade.protocol.table import BY_PHASE, RETRIED, Row, Trigger
from fleet.agent.upgrade.protocol.update import is_void, update
from fleet.contract.upgrade import UpgradeReason

Step = tuple[State, tuple[Effect, ...]]

_ATTEMPT_BEGINS = frozenset({Phase.DOWNLOADING, Phase.FINISHING})
_ATTEMPT_IS_IN_THE_JOURNAL = frozenset({Phase.SERVING, Phase.LINKING})
_STOPS_WRITES = frozenset({Phase.QUIESCING, Phase.DRAINING})


def begin(me: AgentProcess, journal: Journal | BadJournal) -> Step:
    """The first state of a process, with the journal as it was read before it holds the lock."""
    state = State(me, Phase.STANDBY, journal)
    if on_trial(state):
        state = msgspec.structs.replace(state, phase=Phase.JOINING)
    settled, effects = _settle(state)
    return settled, (writes(state), *on_enter(state), *effects)


def step(state: State, event: Event) -> Step:
    """The state after `event`, and what to do, in that order."""
    if is_void(state, event):
        return state, ()
    known = update(state, event)
    moved, effects = _answer(known, event)
    settled, more = _settle(moved)
    return settled, _with_reports(state, settled, (*effects, *more, *_retain(state, settled)))


def _answer(state: State, event: Event) -> Step:
    """The transition that the event itself makes."""
    row = _row(state, event.deadline if isinstance(event, Passed) else type(event))
    if row is not None:
        return _take(state, row, event)
    if isinstance(event, LeaseLost):
        return state, (TakeLease(beats_as(state), patient=on_trial(state)),)
    if state.phase in RETRIED and isinstance(event, NotRecorded | UnitFailed):
        return state, (Arm(Deadline.RETRY),)
    if state.phase in RETRIED and event == Passed(Deadline.RETRY):
        return state, on_enter(state)
    return state, ()


def _settle(state: State) -> Step:
    """All transitions whose conditions hold already."""
    effects: tuple[Effect, ...] = ()
    while row := _row(state, None):
        state, more = _take(state, row)
        effects += more
    return state, effects


def _row(state: State, on: Trigger) -> Row | None:
    for row in BY_PHASE[state.phase]:
        if row.on is on and all(condition(state) for condition in row.when):
            return row
    return None


def _take(state: State, row: Row, event: Event | None = None) -> Step:
    changes: dict[str, object] = {"phase": row.to, "heard": None}
    if row.why is not None:
        changes["reason"] = row.why
        changes["message"] = event.message if isinstance(event, UnitFailed | NotRecorded) else ""
    if row.to in _ATTEMPT_BEGINS and state.order is None:
        changes["order"] = state.target
    if row.to in _ATTEMPT_IS_IN_THE_JOURNAL:
        changes["order"] = None
    if row.to is Phase.SERVING:
        # How the attempt ended is the journal's to tell from here on.
        changes |= {"reason": UpgradeReason.IN_PROGRESS, "message": "", "shrunk": False}
    if row.to is row.at and isinstance(event, JobFailed):
        # A job is begun again only after room was made for it.
        changes["shrunk"] = True
    if row.to in _STOPS_WRITES:
        # What was known of reconciles is from before the door was shut.
        changes["busy"] = True
    moved = msgspec.structs.replace(state, **changes)
    return moved, on_enter(moved)


def _retain(before: State, after: State) -> tuple[Effect, ...]:
    """Old versions go at rest: once an attempt is over, and when another number is ordered."""
    number = _kept_at_rest(after)
    return (Retain(number),) if number is not None and number != _kept_at_rest(before) else ()


def _kept_at_rest(state: State) -> int | None:
    return versions_kept(state) if state.phase is Phase.SERVING else None


def _with_reports(before: State, after: State, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """Writes are closed before any other effect, and opened only when the state allows it."""
    if writes(after) != writes(before):
        effects = (writes(after), *effects)
    shown = status(after)
    if shown is not None and shown != status(before):
        effects = (*effects, Report(shown))
    return effects
