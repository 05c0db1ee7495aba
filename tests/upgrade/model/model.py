"""Every move of the world: what each process, the operator and the launcher may do next, and every fault.

Whatever may happen at some time may happen at any time: deadlines pass early, messages come late, twice or never. So
what holds here holds for every timing.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from fleet.agent.upgrade.effects import (
    Effect,
    Exit,
    Fetch,
    PointLink,
    Record,
    ReleaseLease,
    SelfTest,
    StageFiles,
    StartUnit,
    StopOthers,
    StopUnit,
)
from fleet.agent.upgrade.journal import Commit, Finish, Journal, apply
from fleet.agent.upgrade.state import Phase
from fleet.contract.upgrade import UpgradePhase
from fleet.contract.wire import AgentLease, AgentTarget
from fleet.operator.upgrade.decide import decide
from fleet.operator.upgrade.view import Artifact, DeviceView, FleetView, Rules
from tests.upgrade.model import launcher
from tests.upgrade.model.process import ANOTHER, After, Processes, identity
from tests.upgrade.model.world import (
    BOOT,
    BUDGET,
    CONFIRMED,
    DISK,
    HEARD0,
    INFO,
    LATE_BEAT,
    LATE_REPORT,
    LATE_TARGET,
    LEASE,
    LOCK,
    NATURE,
    NET,
    NONE,
    OPERATOR,
    P0,
    PENDING,
    PROVEN,
    RELEASES,
    STARTS0,
    TARGET,
    WISH,
    ZOMBIE,
    Budget,
    Disk,
    Files,
    Nature,
    Net,
    Plan,
    Pool,
    Proc,
    Unit,
    Wish,
    World,
)

_PUBLISHED = {one.version: Artifact(one.digest, 1) for one in RELEASES}
_RULES = Rules(soak=0)
_WANTED = {
    Wish.SECOND: (RELEASES[1].version, 1),
    Wish.FIRST_AGAIN: (RELEASES[0].version, 2),
    Wish.SECOND_AGAIN: (RELEASES[1].version, 2),
    Wish.NOTHING: (None, 2),
}
_READS_JOURNAL = frozenset(
    {
        *(Phase.STANDBY, Phase.JOINING, Phase.AWAITING, Phase.LINKING, Phase.STARTING, Phase.WATCHING),
        *(Phase.DRAINING, Phase.PASSING),
    }
)
_ACTIVE = (Unit.LAUNCH, Unit.RECORDING, Unit.RUN)


class Switches(NamedTuple):
    """Guards that lie outside the machines, where the model plays what carries out their effects."""

    sync_journal: bool = True
    sync_files: bool = True
    launcher_digest: bool = True
    compare_and_set: bool = True
    afresh: bool = True
    lease: bool = True
    remember_lock: bool = True


class Violation(Exception):  # noqa: N818
    """An oracle does not hold."""


class Move(NamedTuple):
    """One way on. A fault may happen; what is none, will happen if nothing else does."""

    label: str
    world: World
    fault: bool = False


class Model:
    """The moves of one device's world."""

    def __init__(self, switches: Switches = Switches()) -> None:  # noqa: B008 - immutable
        self.switches = switches
        self.machines = Processes()
        self.disks: Pool[Disk] = Pool()
        self.leases: Pool[AgentLease] = Pool()
        self.budgets: Pool[Budget] = Pool()
        self.pendings: Pool[tuple[int, int]] = Pool()
        self.confirmed: Pool[tuple[int, str]] = Pool()
        self._decisions: dict[tuple[int, ...], int] = {}
        self._safe_disks: dict[int, str] = {}

    def start(self, nature: Nature, budget: Budget) -> World:
        """A device that has run its first version for ever, and an admin who wants the second."""
        journal = self.machines.journals.number(Journal(committed=RELEASES[0]))
        world = [NONE] * 24
        world[P0] = self.machines.procs.number(Proc(Unit.LAUNCH))
        world[P0 + 1] = self.machines.off
        world[DISK] = self.disks.number(Disk(journal, journal))
        world[BUDGET] = self.budgets.number(budget)
        world[NATURE] = nature
        world[BOOT] = world[STARTS0] = world[STARTS0 + 1] = world[PROVEN] = 0
        world[NET], world[OPERATOR], world[WISH] = Net.UP, 1, Wish.SECOND
        return tuple(world)

    def moves(self, world: World) -> list[Move]:
        """Every way on from here.

        Raises:
            Violation: an oracle does not hold in a state that is reached by one of them.
        """
        found: list[Move] = []
        for version in (0, 1):
            unit = self.machines.procs[world[P0 + version]].unit
            if unit is Unit.RUN:
                self._run(world, version, found)
            elif unit is not Unit.OFF:
                found.append(self._unit(world, version, unit))
        if world[OPERATOR]:
            self._operator(world, found)
        self._nature(world, found)
        self._faults(world, found)
        return found

    # A unit without a process.

    def _unit(self, world: World, version: int, unit: Unit) -> Move:
        if unit is Unit.LEFT:
            return Move(f"systemd notices that {version} exited", _with(world, P0 + version, self.machines.off))
        disk = self.disks[world[DISK]]
        if unit is Unit.RECORDING:
            plan = self.machines.procs[world[P0 + version]].plan
            assert plan is not None
            kept = disk._replace(journal_kept=disk.journal) if self.switches.sync_journal else disk
            return self._launched(_with(world, DISK, self.disks.number(kept)), version, plan)
        journal = self.machines.journals[disk.journal]
        shown = Files.MARKED if disk.files is Files.DAMAGED and not self.switches.launcher_digest else disk.files
        plan = launcher.run(version, journal, shown)
        if plan.change is None:
            return self._launched(world, version, plan)
        changed = self.machines.journals.number(apply(journal, plan.change))
        written = _with(world, DISK, self.disks.number(disk._replace(journal=changed)))
        waiting = self.machines.procs.number(Proc(Unit.RECORDING, plan=plan))
        return Move(f"launcher of {version} records {plan.change}", _with(written, P0 + version, waiting))

    def _launched(self, world: World, version: int, plan: Plan) -> Move:
        if not plan.become:
            left = _with(world, P0 + version, self.machines.off)
            return Move(
                f"launcher of {version} starts {plan.other}", self._start(left, plan.other, afresh=plan.restart)
            )
        disk = self.disks[world[DISK]]
        if not launcher.verifies(version, disk.files):
            raise Violation(f"(a) the launcher becomes version {version}, whose files are {disk.files.name}")
        if version == 1 and world[NATURE] == Nature.DIES_AT_START:
            again = self.machines.procs.number(Proc(Unit.LAUNCH))
            return Move("1 dies at once", _with(world, P0 + 1, again))
        changed = list(world)
        changed[STARTS0 + version] += 1
        me = identity(version, changed[STARTS0 + version], world[BOOT])
        changed[P0 + version] = self.machines.begin(me, disk.journal)
        return Move(f"{version} starts as {me.instance}", tuple(changed))

    def _start(self, world: World, version: int, *, afresh: bool) -> World:
        """`systemctl start`, or `restart`."""
        unit = self.machines.procs[world[P0 + version]].unit
        if unit is not Unit.OFF and not (afresh and self.switches.afresh):
            return world
        return _with(self._freed(world, version), P0 + version, self.machines.procs.number(Proc(Unit.LAUNCH)))

    def _stop(self, world: World, version: int) -> World:
        return _with(self._freed(world, version), P0 + version, self.machines.off)

    def _freed(self, world: World, version: int) -> World:
        return _with(world, LOCK, NONE) if world[LOCK] == version else world

    # A running process.

    def _run(self, world: World, version: int, found: list[Move]) -> None:
        place = P0 + version
        number = world[place]
        proc = self.machines.procs[number]
        if version == 1 and proc.engine and world[NATURE] == Nature.DIES_AS_WRITER:
            again = self.machines.procs.number(Proc(Unit.LAUNCH))
            found.append(Move("1 dies as the writer", _with(self._freed(world, 1), place, again)))
            return
        if proc.queue:
            self._carry_out(world, version, proc, found)
        if proc.job is not None:
            found.append(self._work(world, version, proc, proc.job))
        for kind, argument in self._heard(world, version, proc):
            after = self.machines.hears(number, kind, argument)
            if after.proc != number:
                found.append(self._moved(f"{version} hears {kind}", world, version, kind, argument, after))
        reach = self._reach(world, version)
        shown = self.machines.status(proc.state) if proc.reports and reach else NONE
        if shown not in {NONE, world[INFO]}:
            self._send(world, shown, found)

    def _reach(self, world: World, version: int) -> bool:
        return world[NET] == Net.UP and not (version == 1 and world[NATURE] == Nature.CANNOT_CONNECT)

    def _heard(self, world: World, version: int, proc: Proc) -> list[tuple[str, int]]:
        state = self.machines.states[proc.state]
        disk = self.disks[world[DISK]]
        reach = self._reach(world, version)
        events: list[tuple[str, int]] = []
        if proc.wants_lock and world[LOCK] == NONE:
            events.append(("lock", disk.journal))
        if state.connected != reach:
            events.append(("connected" if reach else "disconnected", 0))
        if reach:
            self._from_nats(world, version, proc, events)
        healthy = not (version == 1 and proc.engine and world[NATURE] == Nature.MAKES_SICK)
        if state.busy or state.healthy != healthy:
            events.append(("workloads", int(healthy)))
        if state.phase in _READS_JOURNAL and self.machines.journals[disk.journal] != state.journal:
            events.append(("journal", disk.journal))
        if proc.armed is not None:
            events.append((f"passed {proc.armed.value}", 0))
        return events

    def _from_nats(self, world: World, version: int, proc: Proc, events: list[tuple[str, int]]) -> None:
        state = self.machines.states[proc.state]
        lease = self.leases[world[LEASE]] if world[LEASE] != NONE else None
        mine = lease is not None and lease.instance_id == state.me.instance
        if proc.wants_lease:
            same_boot = lease is not None and lease.boot_id == state.me.boot_id
            if lease is None or mine or (proc.wants_lease == 2 and same_boot) or not self.switches.lease:
                events.append(("lease", 0))
        elif state.leased and not mine:
            events.append(("lease lost", 0))
        events.extend(("target", place) for place in (world[TARGET], world[LATE_TARGET]) if place != NONE)
        if state.phase is Phase.STARTING:
            other = self.machines.procs[world[P0 + 1 - version]]
            if other.unit is Unit.RUN and self._reach(world, 1 - version):
                events.append(("beat", self._beat(world, 1 - version)))
            if world[LATE_BEAT] != NONE:
                events.append(("beat", world[LATE_BEAT]))

    def _beat(self, world: World, version: int) -> int:
        lies = version == 1 and world[NATURE] == Nature.SAYS_ANOTHER_VERSION
        return self.machines.beat(world[P0 + version], lies=lies)

    def _moved(self, label: str, world: World, version: int, kind: str, argument: int, after: After) -> Move:
        changed = list(world)
        changed[P0 + version] = after.proc
        if kind == "lock":
            changed[LOCK] = version
        if kind == "lease":
            me = self.machines.states[self.machines.procs[after.proc].state].me
            changed[LEASE] = self.leases.number(AgentLease(me.instance, 0, 0, me.boot_id))
        if kind == "beat" and argument != world[LATE_BEAT]:
            changed[PROVEN] = self._proven(world, argument)
        self._judge(world, after, label)
        return Move(label, tuple(changed))

    def _proven(self, world: World, beat: int) -> int:
        heard = self.machines.beats[beat]
        return heard.generation if heard.generation and heard.agent_version != ANOTHER else world[PROVEN]

    def _judge(self, world: World, after: After, label: str) -> None:
        if after.stopping and after.stopping != world[PROVEN]:
            raise Violation(f"(b) {label}: it hands over to a candidate that was not heard in this boot and attempt")
        if after.hasty:
            raise Violation(f"(e) {label}: a trial is taken back because NATS answers nobody")
        if after.forgetful:
            raise Violation(f"(e) {label}: a release that is known to be bad is tried again")

    def _send(self, world: World, shown: int, found: list[Move]) -> None:
        status = self.machines.statuses[shown]
        if status.phase.terminal:
            self._judge_durable(world, status.generation)
        found.append(Move(f"report {status.phase.value}", _with(world, INFO, shown)))
        budget = self.budgets[world[BUDGET]]
        if budget.delays and world[LATE_REPORT] != shown:
            late = _with(world, LATE_REPORT, shown)
            spent = budget._replace(delays=budget.delays - 1)
            found.append(Move("the report is delayed", self._spent(late, spent), fault=True))

    def _judge_durable(self, world: World, generation: int) -> None:
        journal = self.machines.journals[self.disks[world[DISK]].journal_kept]
        ended = journal.outcome.generation if journal.outcome else 0
        if ended < generation and self.budgets[world[BUDGET]].full == 0 and self.full_is_exempt is False:
            raise Violation(f"(e) the end of attempt {generation} is reported, and a power cut would undo it")

    full_is_exempt = False

    # Effects.

    def _carry_out(self, world: World, version: int, proc: Proc, found: list[Move]) -> None:
        effect = proc.queue[0]
        label = f"{version}: {effect}"
        match effect:
            case Record():
                self._record(world, version, proc, effect, found)
            case PointLink(release):
                found.append(self._link(world, version, proc, RELEASES.index(release)))
            case StartUnit(release, afresh):
                started = self._start(world, RELEASES.index(release), afresh=afresh)
                found.append(self._done(label, started, version, proc, "started"))
            case StopUnit(release):
                stopped = self._stop(world, RELEASES.index(release))
                found.append(self._done(label, stopped, version, proc, "stopped"))
            case StopOthers(keep):
                stopped = self._stop(world, 1 - RELEASES.index(keep))
                found.append(self._done(label, stopped, version, proc, None))
            case ReleaseLease():
                lease, me = world[LEASE], self.machines.states[proc.state].me
                mine = lease != NONE and self.leases[lease].instance_id == me.instance and self._reach(world, version)
                freed = _with(world, LEASE, NONE) if mine else world
                found.append(self._done(label, freed, version, proc, "released"))
            case Exit():
                gone = _with(self._freed(world, version), P0 + version, self.machines.procs.number(Proc(Unit.LEFT)))
                found.append(Move(label, gone))
            case _:
                raise NotImplementedError(effect)

    def _done(self, label: str, world: World, version: int, proc: Proc, answer: str | None, argument: int = 0) -> Move:
        number = self.machines.procs.number(proc._replace(queue=proc.queue[1:], half=False))
        if self.machines.procs[world[P0 + version]].unit is not Unit.RUN:
            return Move(label, world)
        if answer is None:
            return Move(label, _with(world, P0 + version, number))
        after = self.machines.hears(number, answer, argument)
        self._judge(world, after, label)
        return Move(label, _with(world, P0 + version, after.proc))

    def _record(self, world: World, version: int, proc: Proc, effect: Record, found: list[Move]) -> None:
        disk = self.disks[world[DISK]]
        label = f"{version} records {effect.change}"
        if not proc.half:
            changed = self.machines.journals.number(apply(self.machines.journals[disk.journal], effect.change))
            if isinstance(effect.change, Commit) and changed != disk.journal:
                self._judge_commit(world, version, proc, effect.change)
            written = _with(world, DISK, self.disks.number(disk._replace(journal=changed)))
            half = self.machines.procs.number(proc._replace(half=True))
            found.append(Move(f"{label}, not durable yet", _with(written, P0 + version, half)))
            budget = self.budgets[world[BUDGET]]
            if budget.full:
                spent = self._spent(world, budget._replace(full=0))
                move = self._done("the disk is full", spent, version, proc, "not recorded")
                found.append(Move(move.label, move.world, fault=True))
            return
        kept = disk._replace(journal_kept=disk.journal) if self.switches.sync_journal else disk
        durable = _with(world, DISK, self.disks.number(kept))
        found.append(self._done(f"{label}, durable", durable, version, proc, "recorded", disk.journal))

    def _judge_commit(self, world: World, version: int, proc: Proc, change: Commit) -> None:
        me = self.machines.states[proc.state].me
        known = self.confirmed[world[CONFIRMED]] if world[CONFIRMED] != NONE else None
        if known != (change.generation, me.instance):
            raise Violation(f"(b) {version} commits itself, and the operator confirmed {known}")

    def _link(self, world: World, version: int, proc: Proc, to: int) -> Move:
        disk = self.disks[world[DISK]]
        if not proc.half:
            if not launcher.verifies(to, disk.files):
                return self._done(f"{version}: the link's target is not there", world, version, proc, "link refused")
            half = self.machines.procs.number(proc._replace(half=True))
            moved = _with(world, DISK, self.disks.number(disk._replace(link=to)))
            return Move(f"{version} links {to}, not durable yet", _with(moved, P0 + version, half))
        kept = _with(world, DISK, self.disks.number(disk._replace(link_kept=disk.link)))
        return self._done(f"{version} links {to}, durable", kept, version, proc, "linked")

    def _work(self, world: World, version: int, proc: Proc, job: Effect) -> Move:
        disk = self.disks[world[DISK]]
        match job:
            case Fetch(target):
                return self._job_done("fetched", world, version, proc, "fetched", target.generation)
            case StageFiles(target):
                if target.version == RELEASES[0].version or (proc.job_step == 0 and disk.files is Files.MARKED):
                    return self._job_done("staged anew", world, version, proc, "staged", target.generation)
                return self._stage(world, version, proc, disk, target.generation)
            case SelfTest(target):
                fails = world[NATURE] == Nature.FAILS_TEST and target.version == RELEASES[1].version
                kind = "test failed" if fails else "tested"
                return self._job_done(kind, world, version, proc, kind, target.generation)
            case _:
                raise NotImplementedError(job)

    def _stage(self, world: World, version: int, proc: Proc, disk: Disk, generation: int) -> Move:
        bytes_kept = Files.WHOLE if self.switches.sync_files else disk.files_kept
        marker_kept = Files.MARKED if disk.files_kept is Files.WHOLE else Files.DAMAGED
        after = (
            disk._replace(files=Files.WHOLE, files_kept=min(disk.files_kept, Files.PART)),
            disk._replace(files_kept=bytes_kept),
            disk._replace(files=Files.MARKED),
            disk._replace(files_kept=marker_kept),
        )[proc.job_step]
        written = _with(world, DISK, self.disks.number(after))
        if proc.job_step == 3:
            return self._job_done("marker durable", written, version, proc, "staged", generation)
        further = self.machines.procs.number(proc._replace(job_step=proc.job_step + 1))
        label = ("writes the bytes", "syncs the bytes", "writes the marker")[proc.job_step]
        return Move(f"{version} {label}", _with(written, P0 + version, further))

    def _job_done(self, label: str, world: World, version: int, proc: Proc, kind: str, generation: int) -> Move:
        number = self.machines.procs.number(proc._replace(job=None, job_step=0))
        after = self.machines.hears(number, kind, generation)
        self._judge(world, after, label)
        return Move(f"{version} {label}", _with(world, P0 + version, after.proc))

    # The operator.

    def _operator(self, world: World, found: list[Move]) -> None:
        for version in (0, 1):
            proc = self.machines.procs[world[P0 + version]]
            heard = world[HEARD0 + version]
            alive = proc.unit is Unit.RUN and self._reach(world, version)
            beat = self._beat(world, version) if alive and self.machines.states[proc.state].connected else NONE
            if beat != heard:
                changed = list(world)
                changed[HEARD0 + version] = beat
                if beat != NONE:
                    changed[PROVEN] = self._proven(world, beat)
                found.append(Move(f"the operator hears {version}" if beat != NONE else "silence", tuple(changed)))
                self._delay_beat(world, beat, found)
        late = world[LATE_BEAT]
        if late != NONE:
            version = int(self.machines.beats[late].instance_id[0])
            if world[HEARD0 + version] != late:
                found.append(Move("a late heartbeat arrives", _with(world, HEARD0 + version, late)))
        if world[NET] == Net.UP:
            self._order(world, found)

    def _delay_beat(self, world: World, beat: int, found: list[Move]) -> None:
        budget = self.budgets[world[BUDGET]]
        if beat not in {NONE, world[LATE_BEAT]} and budget.delays and self.machines.beats[beat].generation:
            late = _with(world, LATE_BEAT, beat)
            found.append(
                Move("a heartbeat is delayed", self._spent(late, budget._replace(delays=budget.delays - 1)), fault=True)
            )

    def _order(self, world: World, found: list[Move]) -> None:
        if world[PENDING] != NONE:
            self._write(world, PENDING, found)
            return
        wanted = self._decide(world)
        if wanted != world[TARGET]:
            pending = self.pendings.number((world[TARGET], wanted))
            found.append(Move("the operator decides", _with(world, PENDING, pending)))

    def _decide(self, world: World) -> int:
        writer = self.machines.procs[world[P0 + 1]]
        healthy = not (writer.engine and world[NATURE] == Nature.MAKES_SICK)
        key = (*(world[place] for place in (TARGET, INFO, LEASE, HEARD0, HEARD0 + 1, WISH)), healthy)
        found = self._decisions.get(key)
        if found is None:
            found = self._decisions[key] = self._decided(*key)
        return found

    def _decided(self, target: int, info: int, lease: int, heard0: int, heard1: int, wish: int, healthy: bool) -> int:
        wanted, order = _WANTED[Wish(wish)]
        beats = tuple(self.machines.beats[beat] for beat in (heard0, heard1) if beat != NONE)
        view = DeviceView(
            wanted=wanted,
            order=order,
            target=self.machines.targets[target] if target != NONE else None,
            status=self.machines.statuses[info] if info != NONE else None,
            beats=beats,
            lease=self.leases[lease] if lease != NONE else None,
            healthy=healthy,
            online=bool(beats),
        )
        new = decide(FleetView({"pi": view}, _PUBLISHED, _RULES))["pi"].target
        return target if new is None else self.machines.targets.number(new)

    def _write(self, world: World, place: int, found: list[Move]) -> None:
        expected, wanted = self.pendings[world[place]]
        who = "the operator writes" if place == PENDING else "a write of the former operator lands"
        done = _with(world, place, NONE)
        if expected != world[TARGET] and self.switches.compare_and_set:
            found.append(Move(f"{who}, too late", done))
            return
        target = self.machines.targets[wanted]
        written = list(done)
        written[TARGET] = wanted
        if target.confirmed:
            written[CONFIRMED] = self.confirmed.number((target.generation, target.confirmed))
        found.append(Move(f"{who} {_order_text(target)}", tuple(written)))
        budget = self.budgets[world[BUDGET]]
        if budget.delays and world[TARGET] not in {NONE, world[LATE_TARGET]}:
            written[LATE_TARGET] = world[TARGET]
            spent = budget._replace(delays=budget.delays - 1)
            label = f"{who} {_order_text(target)}; the one before is delayed"
            found.append(Move(label, self._spent(tuple(written), spent), fault=True))

    # The rest of the world.

    def _nature(self, world: World, found: list[Move]) -> None:
        if world[NET] == Net.DOWN:
            found.append(Move("NATS is back", _with(world, NET, Net.UP)))
        if world[LEASE] != NONE and not self._alive(world, self.leases[world[LEASE]].instance_id):
            found.append(Move("the lease expires", _with(world, LEASE, NONE)))
        if world[LATE_REPORT] not in {NONE, world[INFO]} and world[NET] == Net.UP:
            found.append(
                Move("a late report arrives", _with(_with(world, INFO, world[LATE_REPORT]), LATE_REPORT, NONE))
            )
        if world[ZOMBIE] != NONE and world[NET] == Net.UP:
            self._write(world, ZOMBIE, found)

    def _alive(self, world: World, instance: str) -> bool:
        for place in (P0, P0 + 1):
            proc = self.machines.procs[world[place]]
            if proc.unit is Unit.RUN and self.machines.states[proc.state].me.instance == instance:
                return True
        return False

    def _faults(self, world: World, found: list[Move]) -> None:
        budget = self.budgets[world[BUDGET]]
        if budget.crashes:
            self._crashes(world, budget, found)
        if budget.outages and world[NET] == Net.UP:
            down = self._spent(_with(world, NET, Net.DOWN), budget._replace(outages=budget.outages - 1))
            found.append(Move("NATS goes away", down, fault=True))
        if budget.changes_of_mind and world[TARGET] != NONE:
            spent = self._spent(world, budget._replace(changes_of_mind=budget.changes_of_mind - 1))
            for wish in (Wish.FIRST_AGAIN, Wish.SECOND_AGAIN, Wish.NOTHING):
                found.append(Move(f"the admin wants {wish.name}", _with(spent, WISH, wish), fault=True))
        if budget.operator_ends and world[OPERATOR]:
            ended = self._spent(self._without_operator(world), budget._replace(operator_ends=0))
            found.append(Move("the operator is gone for good", _with(ended, OPERATOR, 0), fault=True))
        disk = self.disks[world[DISK]]
        if budget.rot and disk.files is Files.MARKED:
            rotten = self.disks.number(disk._replace(files=Files.DAMAGED, files_kept=Files.DAMAGED))
            spent = self._spent(_with(world, DISK, rotten), budget._replace(rot=0))
            found.append(Move("the second version's file rots", spent, fault=True))
        if budget.tampers and world[LOCK] != NONE:
            spent = self._spent(_with(world, LOCK, NONE), budget._replace(tampers=0))
            found.append(Move("somebody removes the lock's file", spent, fault=True))

    def _crashes(self, world: World, budget: Budget, found: list[Move]) -> None:
        spent = self._spent(world, budget._replace(crashes=budget.crashes - 1))
        again = self.machines.procs.number(Proc(Unit.LAUNCH))
        for version in (0, 1):
            if self.machines.procs[world[P0 + version]].unit is Unit.RUN:
                killed = _with(self._freed(spent, version), P0 + version, again)
                found.append(Move(f"{version} is killed", killed, fault=True))
        if world[OPERATOR]:
            found.append(Move("the operator restarts", self._without_operator(spent), fault=True))
        disk = self.disks[world[DISK]]
        for left in left_by_power_cut(disk):
            found.append(Move(f"power cut, leaving {left}", self._booted(spent, left, again), fault=True))

    def _without_operator(self, world: World) -> World:
        changed = list(world)
        changed[HEARD0] = changed[HEARD0 + 1] = NONE
        if world[PENDING] != NONE:
            changed[ZOMBIE], changed[PENDING] = world[PENDING], NONE
        return tuple(changed)

    def _booted(self, world: World, left: Disk, again: int) -> World:
        changed = list(world)
        changed[DISK] = self.disks.number(left)
        first = launcher.boot(self.machines.journals[left.journal], left.link, left.files)
        changed[P0] = changed[P0 + 1] = self.machines.off
        changed[P0 + first] = again
        changed[LOCK], changed[PROVEN] = NONE, 0
        changed[BOOT] += 1
        return tuple(changed)

    def _spent(self, world: World, budget: Budget) -> World:
        return _with(world, BUDGET, self.budgets.number(budget))

    # Oracles.

    def check(self, world: World) -> None:
        """What must hold in every state.

        Raises:
            Violation: it does not.
        """
        first, second = self.machines.procs[world[P0]], self.machines.procs[world[P0 + 1]]
        if first.unit not in _ACTIVE and second.unit not in _ACTIVE:
            raise Violation("(a) no agent runs, and none is about to")
        if first.engine and second.engine:
            raise Violation("(b) two agents change containers")
        if first.reports and second.reports:
            raise Violation("(b) two agents report")
        found = self._safe_disks.get(world[DISK])
        if found is None:
            found = self._safe_disks[world[DISK]] = self._unsafe(self.disks[world[DISK]])
        if found and not self.rots:
            raise Violation(found)

    rots = False

    def _unsafe(self, disk: Disk) -> str:
        for left in left_by_power_cut(disk):
            journal = self.machines.journals[left.journal]
            for kind, release in (("committed", journal.committed), ("rollback target", journal.previous)):
                if release is not None and not launcher.verifies(RELEASES.index(release), left.files):
                    return f"(d) after a power cut the {kind} {release.version} is not on disk: {left}"
        return ""

    def settled(self, world: World) -> bool:
        """Whether all is said and done: one agent that serves, and a device that says how the last order ended."""
        units = [self.machines.procs[world[P0 + version]] for version in (0, 1)]
        running = [proc for proc in units if proc.unit is Unit.RUN]
        if len(running) != 1 or any(proc.unit not in {Unit.RUN, Unit.OFF} for proc in units):
            return False
        state = self.machines.states[running[0].state]
        journal = self.machines.journals[self.disks[world[DISK]].journal]
        if running[0].queue or journal.candidate is not None:
            return False
        if not world[OPERATOR]:
            return state.phase in _WAITS_FOR_THE_OPERATOR
        if state.phase is not Phase.SERVING:
            return False
        return world[WISH] == Wish.NOTHING or self._told(world)

    def _told(self, world: World) -> bool:
        if world[TARGET] == NONE or world[INFO] == NONE:
            return False
        target, status = self.machines.targets[world[TARGET]], self.machines.statuses[world[INFO]]
        wanted = (target.version, target.order) == _WANTED[Wish(world[WISH])] and not target.withdrawn
        return wanted and status.generation == target.generation and status.phase.terminal


_WAITS_FOR_THE_OPERATOR = frozenset({Phase.SERVING, Phase.WAITING})


def _with(world: World, place: int, value: int) -> World:
    return (*world[:place], value, *world[place + 1 :])


def _order_text(target: AgentTarget) -> str:
    parts = [str(target.version), f"attempt {target.generation}"]
    parts += ["granted"] if target.granted else []
    parts += [f"stop {target.stop_instance}"] if target.stop_instance else []
    parts += [f"confirmed {target.confirmed}"] if target.confirmed else []
    parts += ["withdrawn"] if target.withdrawn else []
    return ", ".join(parts)


def left_by_power_cut(disk: Disk) -> list[Disk]:
    """Every disk that a power cut may leave: of what was not synced, anything may be lost, in any order."""
    files = {disk.files, disk.files_kept}
    if disk.files is not disk.files_kept and disk.files_kept <= Files.PART:
        files |= {Files.PART} if disk.files is Files.WHOLE else {Files.PART, Files.DAMAGED}
    journals, links = {disk.journal, disk.journal_kept}, {disk.link, disk.link_kept}
    return [Disk(j, j, k, k, f, f) for j, k, f in product(sorted(journals), sorted(links), sorted(files))]


__all__ = ["Finish", "Model", "Move", "Switches", "UpgradePhase", "Violation"]
