"""One agent process: the machine that ships, its queue of effects, and what it holds. Worked out once a transition."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.effects import (
    Arm,
    DropJob,
    Effect,
    Fetch,
    Record,
    Report,
    SelfTest,
    StageFiles,
    TakeLease,
    TakeLock,
    Write,
)
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
    LinkPointed,
    LinkRefused,
    LockTaken,
    NotRecorded,
    Passed,
    Recorded,
    SelfTested,
    Staged,
    TargetSeen,
    UnitStarted,
    UnitStopped,
    Workloads,
)
from fleet.agent.upgrade.protocol.guards import attempt
from fleet.agent.upgrade.protocol.journal import Journal, Propose
from fleet.agent.upgrade.protocol.machine import begin, step
from fleet.agent.upgrade.protocol.reporting import beats_as, status
from fleet.agent.upgrade.protocol.state import AgentProcess, Phase, State
from fleet.agent.upgrade.protocol.update import READS_JOURNAL
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget, Heartbeat
from tests.upgrade.model.world import NONE, RELEASES, Pool, Proc, Unit

ANOTHER = AgentVersion("v9.9.9")
_DRAINING = frozenset({Phase.QUIESCING, Phase.DRAINING})


class Facts(NamedTuple):
    """What the moves ask about a process, so that they need not look into its state."""

    unit: Unit
    instance: str
    phase: Phase | None
    connected: bool
    leased: bool
    drains: bool
    """It waits for its reconciles to end."""
    healthy: bool
    hears_beats: bool
    journal: int
    """The one it knows, if it looks at others' lines; else NONE."""
    restless: bool
    """It has something to carry out."""
    shown: int
    """The status that it reports now; NONE for nothing that the operator decides by."""


class After(NamedTuple):
    """A process after an event, by number, and what an oracle wants to know of the transition."""

    proc: int
    stopping: int = 0
    """The attempt in which it just began to hand over."""
    hasty: bool = False
    """It takes the trial back for want of a connection, and had none itself."""
    forgetful: bool = False
    """It proposes a release that it knows to be bad."""


class Processes:
    """The pools of machines' states and processes, and their transitions."""

    def __init__(self) -> None:
        self.states: Pool[State] = Pool()
        self.procs: Pool[Proc] = Pool()
        self.journals: Pool[Journal] = Pool()
        self.targets: Pool[AgentTarget] = Pool()
        self.beats: Pool[Heartbeat] = Pool()
        self.statuses: Pool[UpgradeStatus] = Pool()
        self.off = self.procs.number(Proc())
        self.launch = self.procs.number(Proc(Unit.LAUNCH))
        self.left = self.procs.number(Proc(Unit.LEFT))
        self._facts: list[Facts] = []
        self._after: dict[tuple[int, str, int], After] = {}
        self._begun: dict[tuple[int, int, int, int], int] = {}
        self._beats: dict[tuple[int, bool], int] = {}
        self._popped: dict[int, int] = {}

    def begin(self, version: int, start: int, boot: int, journal: int) -> int:
        """A process that was just started."""
        found = self._begun.get((version, start, boot, journal))
        if found is None:
            me = AgentProcess(RELEASES[version], f"{version}.{start}", f"boot-{boot}")
            state, effects = begin(me, self.journals[journal])
            proc = _queued(Proc(Unit.RUN, self.states.number(state)), effects)
            found = self._begun[version, start, boot, journal] = self.procs.number(proc)
        return found

    def popped(self, proc: int) -> int:
        """The process whose first effect is done."""
        found = self._popped.get(proc)
        if found is None:
            value = self.procs[proc]
            found = self._popped[proc] = self.procs.number(value._replace(queue=value.queue[1:], half=False))
        return found

    def halved(self, proc: int) -> int:
        """The process whose first effect is done, but not durable."""
        return self.procs.number(self.procs[proc]._replace(half=True))

    def worked(self, proc: int) -> int:
        """The process whose job went one step on."""
        value = self.procs[proc]
        return self.procs.number(value._replace(job_step=value.job_step + 1))

    def idle(self, proc: int) -> int:
        """The process whose job is over."""
        return self.procs.number(self.procs[proc]._replace(job=None, job_step=0))

    def hears(self, proc: int, kind: str, argument: int = 0) -> After:
        """The process after an event."""
        found = self._after.get((proc, kind, argument))
        if found is None:
            found = self._after[proc, kind, argument] = self._hear(self.procs[proc], self._event(kind, argument))
        return found

    def _hear(self, proc: Proc, event: Event) -> After:
        before = self.states[proc.state]
        after, effects = step(before, event)
        if isinstance(event, LockTaken):
            proc = proc._replace(wants_lock=False)
        if isinstance(event, LeaseTaken):
            proc = proc._replace(wants_lease=0)
        if isinstance(event, Passed):
            proc = proc._replace(armed=None)
        moved = _queued(proc._replace(state=self.states.number(after)), effects)
        stopping = after.phase is Phase.DRAINING and before.phase is not Phase.DRAINING
        recalls = after.phase is Phase.RECALLING and isinstance(event, Passed)
        return After(
            self.procs.number(moved),
            stopping=attempt(after) if stopping else 0,
            hasty=recalls and not before.connected,
            forgetful=any(_is_known_to_be_bad(after, effect) for effect in effects),
        )

    def _event(self, kind: str, argument: int) -> Event:
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind in {"lock", "journal", "recorded"}:
            journal = self.journals[argument]
            return {"lock": LockTaken, "journal": JournalSeen, "recorded": Recorded}[kind](journal)
        if kind == "target":
            return TargetSeen(self.targets[argument])
        if kind == "beat":
            return BeatHeard(self.beats[argument])
        if kind in _JOB_FAILURES:
            return JobFailed(argument, _JOB_FAILURES[kind])
        return {"fetched": Fetched, "staged": Staged, "tested": SelfTested}[kind](argument)

    def beat(self, proc: int, *, lies: bool) -> int:
        """The heartbeat that the process sends now."""
        number = self.procs[proc].state
        found = self._beats.get((number, lies))
        if found is None:
            state = self.states[number]
            version = ANOTHER if lies else state.process.release.version
            beat = Heartbeat(version, state.process.instance, state.process.boot_id, 1, 10, generation=beats_as(state))
            found = self._beats[number, lies] = self.beats.number(beat)
        return found

    def facts(self, proc: int) -> Facts:
        """The facts of a process."""
        facts = self._facts
        while len(facts) <= proc:
            facts.append(self._worked_out(self.procs[len(facts)]))
        return facts[proc]

    def _worked_out(self, proc: Proc) -> Facts:
        if proc.state == NONE:
            return Facts(proc.unit, "", None, False, False, False, True, False, NONE, False, NONE)
        state = self.states[proc.state]
        assert isinstance(state.journal, Journal)
        return Facts(
            unit=proc.unit,
            instance=state.process.instance,
            phase=state.phase,
            connected=state.connected,
            leased=state.leased,
            drains=state.phase in _DRAINING and state.busy,
            healthy=state.healthy,
            hears_beats=state.phase is Phase.STARTING,
            journal=self.journals.number(state.journal) if state.phase in READS_JOURNAL else NONE,
            restless=bool(proc.queue) or proc.job is not None,
            shown=self._shown(state) if proc.reports else NONE,
        )

    def _shown(self, state: State) -> int:
        shown = status(state)
        if shown is None or not (shown.phase.terminal or shown.phase is UpgradePhase.SELF_TESTED):
            return NONE
        reason = shown.reason if shown.phase.terminal else UpgradeReason.IN_PROGRESS
        return self.statuses.number(msgspec.structs.replace(shown, reason=reason, message=""))


_JOB_FAILURES = {"test failed": UpgradeReason.SELF_TEST_FAILED, "no space": UpgradeReason.NO_SPACE}
_PLAIN: dict[str, Event] = {
    "lease": LeaseTaken(),
    "lease lost": LeaseLost(),
    "released": LeaseReleased(),
    "connected": Connected(),
    "disconnected": Disconnected(),
    "well": Workloads(busy=False, healthy=True),
    "sick": Workloads(busy=False, healthy=False),
    "not recorded": NotRecorded("no space left"),
    "linked": LinkPointed(),
    "link refused": LinkRefused(UpgradeReason.LINK_MISSING),
    "started": UnitStarted(),
    "stopped": UnitStopped(),
    **{f"passed {deadline.value}": Passed(deadline) for deadline in Deadline},
}


def _queued(proc: Proc, effects: tuple[Effect, ...]) -> Proc:
    """What needs no other to be carried out is done at once: a crash around it leaves the same world behind."""
    for effect in effects:
        match effect:
            case Arm(deadline):
                proc = proc._replace(armed=deadline)
            case Write(engine, reports):
                proc = proc._replace(engine=engine, reports=reports)
            case TakeLock():
                proc = proc._replace(wants_lock=True)
            case TakeLease(_, patient):
                proc = proc._replace(wants_lease=1 if patient else 2)
            case Fetch() | StageFiles() | SelfTest():
                proc = proc._replace(job=effect, job_step=0)
            case DropJob():
                proc = proc._replace(job=None, job_step=0)
            case Report():
                pass
            case _:
                proc = proc._replace(queue=(*proc.queue, effect))
    return proc


def _is_known_to_be_bad(state: State, effect: Effect) -> bool:
    if not isinstance(effect, Record) or not isinstance(effect.change, Propose):
        return False
    bad = state.journal.bad if isinstance(state.journal, Journal) else ()
    return any(one.release == effect.change.release for one in bad)
