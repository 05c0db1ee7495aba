"""What an agent knows after an event, whatever it will do about it."""

from __future__ import annotations

import msgspec

from fleet.agent.upgrade.protocol.events import (
    BeatHeard,
    Connected,
    Disconnected,
    Event,
    Fetched,
    JobFailed,
    JournalSeen,
    LeaseLost,
    LeaseReleased,
    LeaseTaken,
    LinkRefused,
    LockTaken,
    NotRecorded,
    Recorded,
    SelfTested,
    Staged,
    TargetSeen,
    Workloads,
)
from fleet.agent.upgrade.protocol.guards import attempt, late, proves
from fleet.agent.upgrade.protocol.journal import Journal, apply
from fleet.agent.upgrade.protocol.on_enter import finish
from fleet.agent.upgrade.protocol.state import Phase, State
from fleet.contract.wire import AgentTarget

READS_JOURNAL = frozenset(
    {
        *(Phase.STANDBY, Phase.JOINING, Phase.AWAITING, Phase.LINKING, Phase.STARTING, Phase.WATCHING),
        *(Phase.DRAINING, Phase.PASSING),
    }
)
"""Phases in which another process's line in the journal changes what is to be done."""


def is_void(state: State, event: Event) -> bool:
    """Whether the event is late, or answers an attempt that was given up, or comes after the end."""
    match event:
        case _ if state.phase is Phase.GONE:
            return True
        case Fetched() | Staged() | SelfTested() | JobFailed():
            return event.generation != attempt(state)
        case TargetSeen(target):
            return target is not None and late(state, target)
        case _:
            return False


def update(state: State, event: Event) -> State:
    """The state with the data of the event."""
    match event:
        case LockTaken() | JournalSeen() | Recorded() | NotRecorded():
            return _journal(state, event)
        case TargetSeen(target):
            return msgspec.structs.replace(state, target=_target(state, target))
        case BeatHeard(beat) if state.phase is Phase.STARTING:
            shown = proves(state, beat)
            return state if shown is None else msgspec.structs.replace(state, heard=shown)
        case JobFailed(_, reason, message):
            return msgspec.structs.replace(state, reason=reason, message=message)
        case LinkRefused(reason, message) if state.phase is Phase.LINKING:
            return msgspec.structs.replace(state, reason=reason, message=message)
        case _:
            return _surroundings(state, event)


def _journal(state: State, event: LockTaken | JournalSeen | Recorded | NotRecorded) -> State:
    replace = msgspec.structs.replace
    match event:
        case LockTaken(journal):
            # A phase that writes the journal gets it with the answer.
            return replace(state, locked=True, journal=journal if state.phase in READS_JOURNAL else state.journal)
        case Recorded(journal):
            return replace(state, journal=journal)
        case JournalSeen(journal) if state.phase in READS_JOURNAL:
            return replace(state, journal=journal)
        case NotRecorded() if isinstance(state.journal, Journal) and state.phase is Phase.FINISHING:
            # The outcome holds for as long as this process lives; after that the order is looked at anew.
            return replace(state, journal=apply(state.journal, finish(state)))
        case _:
            return state


def _target(state: State, target: AgentTarget | None) -> AgentTarget | None:
    if target is not None or state.target is None:
        return target
    # The key is gone: a device that is being deleted turns back.
    return msgspec.structs.replace(state.target, withdrawn=True)


def _surroundings(state: State, event: Event) -> State:
    replace = msgspec.structs.replace
    match event:
        case LeaseTaken():
            return replace(state, leased=True)
        case LeaseLost() | LeaseReleased():
            return replace(state, leased=False)
        case Connected() | Disconnected():
            return replace(state, connected=isinstance(event, Connected))
        case Workloads(busy, healthy):
            return replace(state, busy=busy, healthy=healthy)
        case _:
            return state
