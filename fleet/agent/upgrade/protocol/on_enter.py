"""What an agent does when it comes into a phase: a function of the state alone, so that it can be done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.effects import (
    Arm,
    DropJob,
    Effect,
    Exit,
    Fetch,
    PointLink,
    Record,
    ReleaseLease,
    Retain,
    SelfTest,
    StageFiles,
    StartUnit,
    StopOthers,
    StopUnit,
    TakeLease,
    TakeLock,
)
from fleet.agent.upgrade.protocol.guards import candidate
from fleet.agent.upgrade.protocol.journal import (
    Candidate,
    Change,
    Commit,
    Finish,
    HandOver,
    Journal,
    Propose,
    Recall,
    Reject,
    Release,
    StepDown,
)
from fleet.agent.upgrade.protocol.reporting import beats_as
from fleet.agent.upgrade.protocol.state import Phase, State
from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from fleet.contract.wire import AgentTarget

Effects = tuple[Effect, ...]


def on_enter(state: State) -> Effects:
    """The effects of coming into the state's phase."""
    return _ENTRY[state.phase](state)


def finish(state: State) -> Finish:
    """The line in the journal of an attempt that came to no candidate."""
    order, done = _order(state), state.reason is UpgradeReason.ALREADY_RUNNING
    phase = UpgradePhase.COMMITTED if done else UpgradePhase.REFUSED
    return Finish(order.generation, Release(order.version, order.digest), phase, state.reason, state.message)


def _order(state: State) -> AgentTarget:
    assert state.order is not None, f"{state.phase} without an order"
    return state.order


def _trial(state: State) -> Candidate:
    trial = candidate(state)
    assert trial is not None, f"{state.phase} without a candidate"
    return trial


def _committed(state: State) -> Release:
    assert isinstance(state.journal, Journal), f"{state.phase} without a journal"
    return state.journal.committed


def _wait(deadline: Deadline | None) -> Callable[[State], Effects]:
    return lambda state: (Arm(deadline),)


def _record(change: Callable[[State], Change]) -> Callable[[State], Effects]:
    return lambda state: (Arm(None), Record(change(state)))


def _lock(state: State) -> Effects:
    return () if state.locked else (TakeLock(),)


def _lease(state: State, *, patient: bool) -> Effects:
    return () if state.leased else (TakeLease(beats_as(state), patient),)


def _serve(state: State) -> Effects:
    # What any earlier attempt left half done is put in order here.
    committed = _committed(state)
    return (Arm(None), PointLink(committed), StopOthers(committed), *_lease(state, patient=False))


def _resume(state: State) -> Effects:
    return (Arm(None), PointLink(_trial(state).release), *_lease(state, patient=False))


def _make_room(state: State) -> Effects:
    return (Retain(0),) if state.shrunk else ()


def _propose(state: State) -> Propose:
    order = _order(state)
    return Propose(Release(order.version, order.digest), order.generation)


_ENTRY: Mapping[Phase, Callable[[State], Effects]] = {
    Phase.STANDBY: lambda state: (Arm(None), *_lock(state)),
    Phase.SERVING: _serve,
    Phase.DISABLED: lambda state: (Arm(None), *_lease(state, patient=False)),
    Phase.FINISHING: lambda state: (Arm(None), DropJob(), Record(finish(state))),
    Phase.DOWNLOADING: lambda state: (Arm(None), *_make_room(state), Fetch(_order(state))),
    Phase.STAGING: lambda state: (*_make_room(state), StageFiles(_order(state))),
    Phase.TESTING: lambda state: (SelfTest(_order(state)),),
    Phase.WAITING: _wait(None),
    Phase.QUIESCING: _wait(Deadline.DRAIN),
    Phase.PROPOSING: _record(_propose),
    Phase.LINKING: _resume,
    Phase.STARTING: lambda state: (Arm(Deadline.HEARTBEAT), StartUnit(_trial(state).release)),
    Phase.WATCHING: _wait(Deadline.STOP),
    Phase.DRAINING: _wait(Deadline.DRAIN),
    Phase.YIELDING: _record(lambda state: HandOver(_trial(state).generation)),
    Phase.PASSING: lambda state: (Arm(None), StartUnit(_trial(state).release)),
    Phase.RECALLING: _record(lambda state: Recall(_trial(state).generation, state.reason, state.message)),
    Phase.JOINING: lambda state: (Arm(Deadline.STEP_DOWN), *_lock(state)),
    Phase.STEPPING_DOWN: _record(lambda state: StepDown(_trial(state).generation)),
    Phase.AWAITING: _wait(Deadline.ESCALATE),
    Phase.CLAIMING: _record(lambda state: HandOver(_trial(state).generation)),
    Phase.OUSTING: lambda state: (Arm(None), StopUnit(_committed(state))),
    Phase.TAKING: lambda state: (Arm(Deadline.TAKE), *_lease(state, patient=True)),
    Phase.SOAKING: _wait(Deadline.CONFIRM),
    Phase.COMMITTING: _record(lambda state: Commit(_trial(state).generation)),
    Phase.REJECTING: _record(lambda state: Reject(_trial(state).generation, state.reason, state.message)),
    # A committed agent that handed over may be on its way out still: it is started afresh, not left as it is.
    Phase.RETURNING: lambda state: (Arm(None), StartUnit(_committed(state), afresh=state.locked)),
    Phase.LEAVING: lambda state: (Arm(None), ReleaseLease()),
    Phase.GONE: lambda state: (Exit(),),
}
