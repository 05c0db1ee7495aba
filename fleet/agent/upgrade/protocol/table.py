"""The agent's side of the protocol as one table: from where, at what, on which conditions, to where, and why.

The rows of a phase are tried in order, and the first that fits is taken. A row without an event is looked at after
every event and every transition, so nothing depends on having heard of a change at the right moment. A phase that
writes the journal is left only by the answer. The diagram in `docs/upgrade.md` is drawn from this table.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fleet.agent.upgrade.protocol import guards as when
from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.events import (
    Event,
    Fetched,
    JobFailed,
    LeaseReleased,
    LeaseTaken,
    LinkPointed,
    LinkRefused,
    NotRecorded,
    Recorded,
    SelfTested,
    Staged,
    UnitFailed,
    UnitStarted,
    UnitStopped,
)
from fleet.agent.upgrade.protocol.state import Phase, State
from fleet.contract.upgrade import UpgradeReason as Why

Trigger = type[Event] | Deadline | None
Condition = Callable[[State], bool]


class Row(msgspec.Struct, frozen=True):
    """One transition. Without `why`, the reason is that of the event, or else the previous one."""

    at: Phase
    on: Trigger
    when: tuple[Condition, ...]
    to: Phase
    why: Why | None = None


def _row(
    at: Phase | tuple[Phase, ...], on: Trigger, when: tuple[Condition, ...], to: Phase, why: Why | None = None
) -> tuple[Row, ...]:
    return tuple(Row(phase, on, when, to, why) for phase in (at if isinstance(at, tuple) else (at,)))


_JOBS = (Phase.DOWNLOADING, Phase.STAGING, Phase.TESTING)
_PREPARING = (*_JOBS, Phase.WAITING, Phase.QUIESCING)
_TRYING = (Phase.LINKING, Phase.STARTING, Phase.WATCHING, Phase.DRAINING)
_ALONGSIDE = (Phase.JOINING, Phase.AWAITING)
_PROVING = (Phase.TAKING, Phase.SOAKING)

ROWS: tuple[Row, ...] = (
    # Whoever gets the lock reads in the journal what it is.
    *_row(Phase.STANDBY, None, (when.stranger,), Phase.RETURNING),
    *_row(Phase.STANDBY, None, (when.locked, when.unreadable), Phase.DISABLED),
    *_row(Phase.STANDBY, None, (when.locked, when.proposed), Phase.LINKING),
    *_row(Phase.STANDBY, None, (when.locked, when.handed_over), Phase.PASSING),
    *_row(Phase.STANDBY, None, (when.locked, when.stepped_down), Phase.RECALLING, Why.STOP_NOT_ORDERED),
    *_row(Phase.STANDBY, None, (when.locked,), Phase.SERVING),
    # The committed agent takes an order, or refuses it.
    *_row(Phase.SERVING, None, (when.already_running,), Phase.FINISHING, Why.ALREADY_RUNNING),
    *_row(Phase.SERVING, None, (when.digest_conflict,), Phase.FINISHING, Why.DIGEST_CONFLICT),
    *_row(Phase.SERVING, None, (when.known_bad,), Phase.FINISHING, Why.BAD_VERSION),
    *_row(Phase.SERVING, None, (when.unhealthy_order,), Phase.FINISHING, Why.WORKLOAD_UNHEALTHY),
    *_row(Phase.SERVING, None, (when.ordered,), Phase.DOWNLOADING),
    *_row(Phase.FINISHING, Recorded, (), Phase.SERVING),
    *_row(Phase.FINISHING, NotRecorded, (), Phase.SERVING),
    # It prepares the candidate. Up to the swap, an order that came later wins.
    *_row(_PREPARING, None, (when.overtaken,), Phase.FINISHING, Why.SUPERSEDED),
    *_row(_PREPARING, None, (when.withdrawn,), Phase.FINISHING, Why.WITHDRAWN),
    *_row(Phase.DOWNLOADING, JobFailed, (when.cramped,), Phase.DOWNLOADING),
    *_row(Phase.STAGING, JobFailed, (when.cramped,), Phase.STAGING),
    *_row(_JOBS, JobFailed, (), Phase.FINISHING),
    *_row(Phase.DOWNLOADING, Fetched, (), Phase.STAGING),
    *_row(Phase.STAGING, Staged, (), Phase.TESTING),
    *_row(Phase.TESTING, SelfTested, (), Phase.WAITING),
    *_row(Phase.WAITING, None, (when.granted,), Phase.QUIESCING),
    *_row(Phase.QUIESCING, None, (when.not_granted,), Phase.WAITING),
    *_row(Phase.QUIESCING, None, (when.ready,), Phase.PROPOSING),
    *_row(Phase.QUIESCING, Deadline.DRAIN, (when.busy,), Phase.FINISHING, Why.RECONCILE_TIMED_OUT),
    *_row(Phase.QUIESCING, Deadline.DRAIN, (), Phase.FINISHING, Why.WORKLOAD_UNHEALTHY),
    # The swap: the journal first, then the link.
    *_row(Phase.PROPOSING, Recorded, (), Phase.LINKING),
    *_row(Phase.PROPOSING, NotRecorded, (), Phase.FINISHING, Why.JOURNAL_NOT_SAVED),
    # Both are alive, and the committed one is the writer.
    *_row(_TRYING, None, (when.no_candidate,), Phase.SERVING),
    *_row(_TRYING, None, (when.handed_over,), Phase.PASSING),
    *_row(_TRYING, None, (when.stepped_down,), Phase.RECALLING, Why.STOP_NOT_ORDERED),
    *_row(_TRYING, None, (when.overtaken,), Phase.RECALLING, Why.SUPERSEDED),
    *_row(_TRYING, None, (when.withdrawn,), Phase.RECALLING, Why.WITHDRAWN),
    *_row(Phase.LINKING, LinkRefused, (), Phase.RECALLING),
    *_row(Phase.LINKING, LinkPointed, (), Phase.STARTING),
    *_row(Phase.STARTING, UnitFailed, (), Phase.RECALLING, Why.CANDIDATE_NOT_STARTED),
    *_row((Phase.STARTING, Phase.WATCHING), None, (when.told_to_stop,), Phase.DRAINING),
    *_row(Phase.STARTING, None, (when.heard_another_version,), Phase.RECALLING, Why.CANDIDATE_WRONG_VERSION),
    *_row(Phase.STARTING, None, (when.heard_candidate,), Phase.WATCHING),
    *_row(Phase.STARTING, Deadline.HEARTBEAT, (when.connected,), Phase.RECALLING, Why.CANDIDATE_NOT_CONNECTED),
    *_row(Phase.STARTING, Deadline.HEARTBEAT, (), Phase.STARTING),
    *_row(Phase.WATCHING, Deadline.STOP, (when.connected,), Phase.RECALLING, Why.STOP_NOT_ORDERED),
    *_row(Phase.WATCHING, Deadline.STOP, (), Phase.WATCHING),
    *_row(Phase.DRAINING, None, (when.quiet,), Phase.YIELDING),
    *_row(Phase.DRAINING, Deadline.DRAIN, (), Phase.YIELDING),
    # It hands over, or takes the trial back: whose line in the journal comes first decides.
    *_row(Phase.YIELDING, Recorded, (when.handed_over,), Phase.PASSING),
    *_row(Phase.YIELDING, Recorded, (when.stepped_down,), Phase.RECALLING, Why.STOP_NOT_ORDERED),
    *_row(Phase.YIELDING, Recorded, (), Phase.SERVING),
    *_row(Phase.RECALLING, Recorded, (when.handed_over,), Phase.PASSING),
    *_row(Phase.RECALLING, Recorded, (), Phase.SERVING),
    *_row(Phase.PASSING, None, (when.no_candidate,), Phase.SERVING),
    *_row(Phase.PASSING, UnitStarted, (), Phase.LEAVING),
    # The candidate, beside the committed agent.
    *_row(_ALONGSIDE, None, (when.is_committed,), Phase.STANDBY),
    *_row(_ALONGSIDE, None, (when.stranger,), Phase.RETURNING),
    *_row(_ALONGSIDE, None, (when.locked, when.handed_over), Phase.TAKING),
    *_row(_ALONGSIDE, None, (when.locked,), Phase.CLAIMING),
    *_row(Phase.JOINING, None, (when.told_to_take_over,), Phase.AWAITING),
    *_row(Phase.JOINING, Deadline.STEP_DOWN, (when.connected,), Phase.STEPPING_DOWN),
    *_row(Phase.JOINING, Deadline.STEP_DOWN, (), Phase.JOINING),
    *_row(Phase.STEPPING_DOWN, Recorded, (when.handed_over,), Phase.JOINING),
    *_row(Phase.STEPPING_DOWN, Recorded, (when.is_committed,), Phase.STANDBY),
    *_row(Phase.STEPPING_DOWN, Recorded, (), Phase.RETURNING),
    *_row(Phase.AWAITING, Deadline.ESCALATE, (), Phase.CLAIMING),
    *_row(Phase.CLAIMING, Recorded, (when.is_committed,), Phase.STANDBY),
    *_row(Phase.CLAIMING, Recorded, (when.stranger,), Phase.RETURNING),
    *_row(Phase.CLAIMING, Recorded, (when.locked,), Phase.TAKING),
    *_row(Phase.CLAIMING, Recorded, (), Phase.OUSTING),
    *_row(Phase.OUSTING, UnitStopped, (), Phase.AWAITING),
    # The candidate, as the writer.
    *_row(_PROVING, None, (when.overtaken,), Phase.REJECTING, Why.SUPERSEDED),
    *_row(_PROVING, None, (when.withdrawn,), Phase.REJECTING, Why.WITHDRAWN),
    *_row(Phase.TAKING, LeaseTaken, (), Phase.SOAKING),
    *_row(Phase.TAKING, Deadline.TAKE, (), Phase.REJECTING, Why.NOT_CONFIRMED),
    *_row(Phase.SOAKING, None, (when.unhealthy,), Phase.REJECTING, Why.DEGRADED),
    *_row(Phase.SOAKING, None, (when.confirmed,), Phase.COMMITTING),
    *_row(Phase.SOAKING, Deadline.CONFIRM, (), Phase.REJECTING, Why.NOT_CONFIRMED),
    *_row(Phase.COMMITTING, Recorded, (when.is_committed,), Phase.SERVING),
    *_row(Phase.COMMITTING, Recorded, (), Phase.RETURNING),
    *_row(Phase.REJECTING, Recorded, (when.is_committed,), Phase.SERVING),
    *_row(Phase.REJECTING, Recorded, (), Phase.RETURNING),
    # Either of them goes, once the other was started.
    *_row(Phase.RETURNING, UnitStarted, (), Phase.LEAVING),
    *_row(Phase.LEAVING, LeaseReleased, (), Phase.GONE),
)

RETRIED = frozenset(
    {
        Phase.YIELDING,
        Phase.PASSING,
        Phase.RECALLING,
        Phase.STEPPING_DOWN,
        Phase.CLAIMING,
        Phase.OUSTING,
        Phase.COMMITTING,
        Phase.REJECTING,
        Phase.RETURNING,
    }
)
"""Phases whose effect must succeed before anything else can happen: it is tried again after `Deadline.RETRY`."""


def _by_phase() -> dict[Phase, tuple[Row, ...]]:
    return {phase: tuple(row for row in ROWS if row.at is phase) for phase in Phase}


BY_PHASE = _by_phase()
