"""What others see of an agent's upgrade: what it may write, what it reports, and what its heartbeats say."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.agent.upgrade.protocol.effects import Write
from fleet.agent.upgrade.protocol.guards import attempt, candidate, on_trial
from fleet.agent.upgrade.protocol.journal import BadJournal, Candidate, Journal, JournalTrouble
from fleet.agent.upgrade.protocol.state import Phase, State
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus

_OUTSIDE = frozenset(
    {
        *(Phase.STANDBY, Phase.JOINING, Phase.STEPPING_DOWN, Phase.AWAITING, Phase.CLAIMING, Phase.OUSTING),
        *(Phase.TAKING, Phase.YIELDING, Phase.PASSING, Phase.RETURNING, Phase.LEAVING, Phase.GONE),
    }
)
"""Phases of an agent that is not the writer yet, or not any more."""
_QUIET = frozenset({Phase.QUIESCING, Phase.PROPOSING, Phase.DRAINING, Phase.REJECTING})
"""Phases of a writer that begins no reconcile."""
_REPORTED: Mapping[Phase, tuple[UpgradePhase, UpgradeReason | None]] = {
    Phase.DOWNLOADING: (UpgradePhase.DOWNLOADING, UpgradeReason.IN_PROGRESS),
    Phase.STAGING: (UpgradePhase.DOWNLOADING, UpgradeReason.IN_PROGRESS),
    Phase.TESTING: (UpgradePhase.STAGED, UpgradeReason.IN_PROGRESS),
    Phase.WAITING: (UpgradePhase.SELF_TESTED, UpgradeReason.WAITING_FOR_LOCK),
    Phase.PROPOSING: (UpgradePhase.SWAPPED, UpgradeReason.IN_PROGRESS),
    Phase.LINKING: (UpgradePhase.SWAPPED, UpgradeReason.IN_PROGRESS),
    Phase.STARTING: (UpgradePhase.STARTING, UpgradeReason.IN_PROGRESS),
    Phase.WATCHING: (UpgradePhase.STARTING, UpgradeReason.IN_PROGRESS),
    Phase.DRAINING: (UpgradePhase.HANDING_OVER, UpgradeReason.IN_PROGRESS),
    Phase.SOAKING: (UpgradePhase.SOAKING, UpgradeReason.IN_PROGRESS),
    Phase.COMMITTING: (UpgradePhase.SOAKING, UpgradeReason.IN_PROGRESS),
    Phase.RECALLING: (UpgradePhase.REVERTING, None),
    Phase.REJECTING: (UpgradePhase.REVERTING, None),
}
"""None is the state's own reason."""
_UNUSABLE: Mapping[JournalTrouble, UpgradeReason] = {
    JournalTrouble.MISSING: UpgradeReason.JOURNAL_UNREADABLE,
    JournalTrouble.DAMAGED: UpgradeReason.JOURNAL_UNREADABLE,
    JournalTrouble.TOO_NEW: UpgradeReason.STATE_TOO_NEW,
}


def writes(state: State) -> Write:
    """What this process may change: containers under the lock alone, reports under the lock and the lease."""
    writer = state.locked and state.phase not in _OUTSIDE
    return Write(engine=writer and state.phase not in _QUIET, reports=writer and state.leased)


def beats_as(state: State) -> int:
    """The generation in this agent's heartbeats: of the attempt that it is the candidate of, or was committed by."""
    trial = candidate(state)
    if trial is not None and on_trial(state):
        return trial.generation
    ended = state.journal.outcome if isinstance(state.journal, Journal) else None
    mine = ended is not None and ended.phase is UpgradePhase.COMMITTED and ended.release == state.process.release
    return ended.generation if ended is not None and mine else 0


def status(state: State) -> UpgradeStatus | None:
    """What the writer reports of the latest attempt; None for nothing new. The reporter adds the time."""
    match state.journal, state.phase:
        case BadJournal() as journal, Phase.DISABLED if state.target is not None:
            return UpgradeStatus(
                generation=state.target.generation,
                phase=UpgradePhase.REFUSED,
                reason=_UNUSABLE[journal.trouble],
                message=journal.message,
                running=state.process.release.version,
                candidate=state.target.version,
            )
        case Journal() as journal, Phase.SERVING:
            return _ended(state, journal)
        case Journal() as journal, _:
            return _under_way(state, journal)
        case _:
            return None


def _ended(state: State, journal: Journal) -> UpgradeStatus | None:
    outcome = journal.outcome
    if outcome is None:
        return None
    return UpgradeStatus(
        generation=outcome.generation,
        phase=outcome.phase,
        reason=outcome.reason,
        message=outcome.message,
        running=state.process.release.version,
        committed=journal.committed.version,
        candidate=outcome.release.version,
        previous=_previous(journal),
        at=outcome.at,
    )


def _under_way(state: State, journal: Journal) -> UpgradeStatus | None:
    if state.phase is Phase.QUIESCING:
        waits = UpgradeReason.WAITING_FOR_RECONCILES if state.busy else UpgradeReason.WAITING_FOR_HEALTH
        shown = UpgradePhase.SELF_TESTED, waits
    elif state.phase in _REPORTED:
        phase, reason = _REPORTED[state.phase]
        shown = phase, reason or state.reason
    else:
        return None
    return UpgradeStatus(
        generation=attempt(state),
        phase=shown[0],
        reason=shown[1],
        message=state.message if shown[0] is UpgradePhase.REVERTING else "",
        running=state.process.release.version,
        committed=journal.committed.version,
        candidate=_candidate(state, journal.candidate),
        previous=_previous(journal),
    )


def _candidate(state: State, trial: Candidate | None) -> AgentVersion | None:
    if state.order is not None:
        return state.order.version
    return trial.release.version if trial else None


def _previous(journal: Journal) -> AgentVersion | None:
    return journal.previous.version if journal.previous else None
