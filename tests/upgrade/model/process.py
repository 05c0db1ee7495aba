"""One agent process: the machine that ships, its queue of effects, and what it holds. Worked out once a transition."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fleet.agent.upgrade.deadlines import Deadline
from fleet.agent.upgrade.effects import (
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
from fleet.agent.upgrade.events import (
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
from fleet.agent.upgrade.journal import Journal, Propose
from fleet.agent.upgrade.machine import begin, step
from fleet.agent.upgrade.outward import beats_as, status
from fleet.agent.upgrade.state import Me, Phase, State
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget, Heartbeat
from tests.upgrade.model.world import RELEASES, Pool, Proc, Unit

ANOTHER = AgentVersion("v9.9.9")
FAILED = UpgradeReason.SELF_TEST_FAILED


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
        self._after: dict[tuple[int, str, int], After] = {}
        self._begun: dict[tuple[Me, int], int] = {}
        self._beats: dict[tuple[int, bool], int] = {}
        self._statuses: dict[int, int] = {}

    def begin(self, me: Me, journal: int) -> int:
        """A process that was just started."""
        found = self._begun.get((me, journal))
        if found is None:
            state, effects = begin(me, self.journals[journal])
            proc = _queued(Proc(Unit.RUN, self.states.number(state)), effects)
            found = self._begun[me, journal] = self.procs.number(proc)
        return found

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
            stopping=after.target.generation if stopping and after.target else 0,
            hasty=recalls and not before.connected,
            forgetful=any(_is_known_to_be_bad(after, effect) for effect in effects),
        )

    def _event(self, kind: str, argument: int) -> Event:  # noqa: PLR0911 - a table of 19 rows
        match kind:
            case "lock":
                return LockTaken(self.journals[argument])
            case "journal":
                return JournalSeen(self.journals[argument])
            case "recorded":
                return Recorded(self.journals[argument])
            case "target":
                return TargetSeen(self.targets[argument])
            case "beat":
                return BeatHeard(self.beats[argument])
            case "workloads":
                return Workloads(busy=False, healthy=bool(argument))
            case "fetched":
                return Fetched(argument)
            case "staged":
                return Staged(argument)
            case "tested":
                return SelfTested(argument)
            case "test failed":
                return JobFailed(argument, FAILED)
            case "link refused":
                return LinkRefused(UpgradeReason.LINK_MISSING)
            case _:
                return PLAIN[kind]

    def beat(self, proc: int, *, lies: bool) -> int:
        """The heartbeat that the process sends now."""
        number = self.procs[proc].state
        found = self._beats.get((number, lies))
        if found is None:
            state = self.states[number]
            version = ANOTHER if lies else state.me.release.version
            beat = Heartbeat(version, state.me.instance, state.me.boot_id, 1, 10, generation=beats_as(state))
            found = self._beats[number, lies] = self.beats.number(beat)
        return found

    def status(self, state: int) -> int:
        """What the process reports in this state; -1 for nothing."""
        found = self._statuses.get(state)
        if found is None:
            shown = status(self.states[state])
            found = self._statuses[state] = -1 if shown is None else self.statuses.number(shown)
        return found


PLAIN: dict[str, Event] = {
    "lease": LeaseTaken(),
    "lease lost": LeaseLost(),
    "released": LeaseReleased(),
    "connected": Connected(),
    "disconnected": Disconnected(),
    "not recorded": NotRecorded("no space left"),
    "linked": LinkPointed(),
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


def reboots(me: Me, boot: int) -> Me:
    return msgspec.structs.replace(me, boot_id=f"boot-{boot}")


def identity(version: int, start: int, boot: int) -> Me:
    return Me(RELEASES[version], f"{version}.{start}", f"boot-{boot}")
