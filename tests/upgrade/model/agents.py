"""The moves of the two versions' units: the launcher, and the processes that carry out what their machines want."""

from __future__ import annotations

from typing import NamedTuple

from fleet.agent.upgrade.protocol.effects import (
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
)
from fleet.agent.upgrade.protocol.journal import Commit, Journal, Stage
from fleet.contract.wire import AgentLease
from tests.upgrade.model import launcher
from tests.upgrade.model.base import Base, Label, Move
from tests.upgrade.model.process import After
from tests.upgrade.model.world import (
    BOOT,
    BUDGET,
    CONFIRMED,
    DISK,
    INFO,
    LATE_BEAT,
    LATE_REPORT,
    LATE_TARGET,
    LEASE,
    LOCK,
    NATURE,
    NONE,
    P0,
    PROVEN,
    RELEASES,
    STARTS0,
    TARGET,
    Disk,
    Files,
    Nature,
    Pace,
    Plan,
    Unit,
    Violation,
    World,
    replaced,
)


class Heard(NamedTuple):
    """An event, and the process after it."""

    kind: str
    argument: int
    after: After


class Agents:
    """Both units' moves."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._machines = base.machines
        self._heard: dict[tuple[int, ...], tuple[Heard, ...]] = {}

    def add(self, world: World, version: int, found: list[Move]) -> None:
        """What this version's unit may do next.

        Raises:
            Violation: it may do what it must not.
        """
        number = world[P0 + version]
        facts = self._machines.facts(number)
        if facts.unit is not Unit.RUN:
            if facts.unit is not Unit.OFF:
                found.append(self._unit(world, version, facts.unit))
            return
        proc = self._machines.procs[number]
        if version == 1 and proc.engine and world[NATURE] == Nature.DIES_AS_WRITER:
            found.append(Move(("1 dies as the writer",), self._base.ended(world, 1, self._machines.launch)))
            return
        if proc.queue:
            self._carry_out(world, version, proc.queue[0], found)
        elif proc.job is not None:
            found.append(self._work(world, version, proc.job))
            self._no_space(world, version, proc.job, found)
        found.extend(self._hears(world, version, heard) for heard in self._events(world, version))
        if facts.shown not in {NONE, world[INFO]} and self._base.reach(world, version):
            self._report(world, facts.shown, found)

    def calmed(self, world: World) -> World:
        """The world after all that changes nothing outside a process: a crash around it leaves the same behind."""
        for version in (0, 1):
            while (calmer := self._calmer(world, version)) != world:
                world = calmer
        return world

    def _calmer(self, world: World, version: int) -> World:
        number = world[P0 + version]
        facts = self._machines.facts(number)
        if facts.unit is not Unit.RUN:
            return world
        if not facts.restless and (facts.connected or not self._base.reach(world, version)):
            return self._prompt(world, version) if self._base.pace is Pace.PROMPT else world
        proc = self._machines.procs[number]
        if proc.queue and not proc.half and (answer := self._idle_effect(world, version, proc.queue[0])):
            return self._done((version, proc.queue[0]), world, version, answer.strip()).world
        if isinstance(proc.job, Fetch | SelfTest) and not proc.queue:
            return self._work(world, version, proc.job).world
        if not facts.connected and self._base.reach(world, version):
            return replaced(world, P0 + version, self._machines.hears(number, "connected").proc)
        return self._prompt(world, version) if self._base.pace is Pace.PROMPT else world

    def _prompt(self, world: World, version: int) -> World:
        """The world after a message that takes no time."""
        number = world[P0 + version]
        if not self._base.reach(world, version):
            return world
        shown = self._machines.facts(number).shown
        if shown not in {NONE, world[INFO]}:
            moves: list[Move] = []
            self._report(world, shown, moves)
            return moves[0].world
        if world[TARGET] != NONE:
            after = self._machines.hears(number, "target", world[TARGET])
            self._base.judge(world, after, (version, "hears", self._machines.targets[world[TARGET]]))
            return replaced(world, P0 + version, after.proc)
        return world

    def _idle_effect(self, world: World, version: int, effect: Effect) -> str:
        """The answer of an effect that finds everything as it wants it; a blank for one without an answer."""
        disk = self._base.disks[world[DISK]]
        match effect:
            case PointLink(release):
                to = RELEASES.index(release)
                there = disk.link == disk.link_kept == to and self._base.usable(to, disk.files)
                return "linked" if there else ""
            case StartUnit(release, False):
                unit = self._machines.facts(world[P0 + RELEASES.index(release)]).unit
                return "started" if unit in {Unit.RUN, Unit.LAUNCH, Unit.RECORDING} else ""
            case StopOthers(keep):
                other = self._machines.facts(world[P0 + 1 - RELEASES.index(keep)]).unit
                return " " if other is Unit.OFF else ""
            case Retain():
                return "" if self._base.has_surplus(world[DISK]) else " "
            case ReleaseLease():
                return "released" if self._without_lease(world, version) == world else ""
            case _:
                return ""

    # The launcher, and systemd.

    def _unit(self, world: World, version: int, unit: Unit) -> Move:
        machines = self._machines
        if unit is Unit.LEFT:
            return Move(("systemd notices that", version, "exited"), replaced(world, P0 + version, machines.off))
        if unit is Unit.RECORDING:
            plan = machines.procs[world[P0 + version]].plan
            assert plan is not None
            return self._launched(replaced(world, DISK, self._base.synced(world[DISK])), version, plan)
        world = replaced(world, DISK, self._base.synced(world[DISK]))
        disk = self._base.disks[world[DISK]]
        shown = Files.MARKED if self._base.usable(1, disk.files) else disk.files
        plan = launcher.run(version, machines.journals[disk.journal], shown)
        if plan.change is None:
            return self._launched(world, version, plan)
        written = replaced(world, DISK, self._base.recorded(world[DISK], plan.change))
        waiting = machines.procs.number(machines.procs[machines.launch]._replace(unit=Unit.RECORDING, plan=plan))
        return Move(("the launcher of", version, "records", plan.change), replaced(written, P0 + version, waiting))

    def _launched(self, world: World, version: int, plan: Plan) -> Move:
        if not plan.become:
            left = replaced(world, P0 + version, self._machines.off)
            started = self._base.start(left, plan.other, afresh=plan.restart)
            return Move(("the launcher of", version, "has", plan.other, "started"), started)
        disk = self._base.disks[world[DISK]]
        if not self._base.usable(version, disk.files):
            return Move(
                ("the launcher of", version, "finds it damaged"), replaced(world, P0 + version, self._machines.launch)
            )
        if not launcher.verifies(version, disk.files):
            raise Violation(f"(a) the launcher becomes version {version}, whose files are {disk.files.name}")
        if version == 1 and self._dies_at_start(world, self._machines.journals[disk.journal]):
            return Move(("1 dies at its start",), replaced(world, P0 + 1, self._machines.launch))
        changed = list(world)
        changed[STARTS0 + version] += 1
        start, boot = changed[STARTS0 + version], world[BOOT]
        changed[P0 + version] = self._machines.begin(version, start, boot, disk.journal)
        return Move((version, "starts as instance", start), tuple(changed))

    def _dies_at_start(self, world: World, journal: Journal) -> bool:
        if world[NATURE] == Nature.DIES_AT_RESTART:
            return journal.candidate is not None and journal.candidate.stage is Stage.HANDED_OVER
        return world[NATURE] == Nature.DIES_AT_START

    # Events.

    def _events(self, world: World, version: int) -> tuple[Heard, ...]:
        number, other = world[P0 + version], 1 - version
        facts, reach = self._machines.facts(number), self._base.reach(world, version)
        sick = version == 1 and world[NATURE] == Nature.MAKES_SICK and self._machines.procs[number].engine
        beat = NONE
        if facts.hears_beats and self._machines.facts(world[P0 + other]).unit is Unit.RUN:
            beat = self._base.beat(world, other) if self._base.reach(world, other) else NONE
        late = (world[LATE_TARGET], world[LATE_BEAT]) if reach else (NONE, NONE)
        nats = (world[TARGET], world[LEASE]) if reach else (NONE, NONE)
        journal = self._base.disks[world[DISK]].journal
        key = (number, world[LOCK] == NONE, journal, reach, sick, beat, *late, *nats)
        found = self._heard.get(key)
        if found is None:
            kinds = self._kinds(number, world[LOCK] == NONE, journal, sick=sick)
            if reach:
                kinds += self._from_nats(number, (*nats, *late, beat))
            elif facts.connected:
                kinds.append(("disconnected", 0))
            found = self._heard[key] = self._worked_out(number, kinds)
        return found

    def _worked_out(self, number: int, kinds: list[tuple[str, int]]) -> tuple[Heard, ...]:
        heard = (Heard(kind, argument, self._machines.hears(number, kind, argument)) for kind, argument in kinds)
        return tuple(one for one in heard if one.after.proc != number)

    def _kinds(self, number: int, free: bool, journal: int, *, sick: bool) -> list[tuple[str, int]]:
        proc, facts = self._machines.procs[number], self._machines.facts(number)
        kinds: list[tuple[str, int]] = []
        if proc.wants_lock and free:
            kinds.append(("lock", journal))
        if facts.drains or facts.healthy == sick:
            kinds.append(("sick" if sick else "well", 0))
        if facts.journal not in {NONE, journal}:
            kinds.append(("journal", journal))
        if proc.armed is not None and not proc.queue and proc.job is None:
            # What is to be done on the device itself takes less time than any deadline.
            kinds.append((f"passed {proc.armed.value}", 0))
        return kinds

    def _from_nats(self, number: int, values: tuple[int, ...]) -> list[tuple[str, int]]:
        proc, facts = self._machines.procs[number], self._machines.facts(number)
        target, lease_number, late_target, late_beat, beat = values
        kinds: list[tuple[str, int]] = [] if facts.connected else [("connected", 0)]
        lease = self._base.leases[lease_number] if lease_number != NONE else None
        mine = lease is not None and lease.instance_id == facts.instance
        if proc.wants_lease:
            boot = self._machines.states[proc.state].process.boot_id
            dead = proc.wants_lease == 2 and lease is not None and lease.boot_id == boot
            if lease is None or mine or dead or not self._base.switches.lease:
                kinds.append(("lease", 0))
        elif facts.leased and not mine:
            kinds.append(("lease lost", 0))
        kinds += [("target", one) for one in (target, late_target) if one != NONE]
        if facts.hears_beats:
            kinds += [("beat", one) for one in (beat, late_beat) if one != NONE]
        return kinds

    def _hears(self, world: World, version: int, heard: Heard) -> Move:
        kind, argument, after = heard
        label: Label = (version, "hears", kind)
        changed = list(world)
        changed[P0 + version] = after.proc
        if kind in {"lock", "journal"}:
            # Whoever reads the journal syncs it first, so that nobody acts on a line that a power cut takes back.
            changed[DISK] = self._base.synced(world[DISK])
        if kind == "lock":
            changed[LOCK] = version
        elif kind == "lease":
            me = self._machines.states[self._machines.procs[after.proc].state].process
            changed[LEASE] = self._base.leases.number(AgentLease(me.instance, 0, 0, me.boot_id))
        elif kind == "beat" and argument != world[LATE_BEAT]:
            changed[PROVEN] = self._base.proven(world, argument)
        elif kind == "target":
            label = (
                version,
                "hears",
                "late" if argument == world[LATE_TARGET] else "now",
                self._machines.targets[argument],
            )
        self._base.judge(world, after, label)
        return Move(label, tuple(changed))

    def _report(self, world: World, shown: int, found: list[Move]) -> None:
        status = self._machines.statuses[shown]
        budget = self._base.budgets[world[BUDGET]]
        if status.phase.terminal and not self._base.may_fill:
            self._judge_durable(world, status.generation)
        label = ("the report", status.phase.value, status.reason.value, "of attempt", status.generation)
        found.append(Move(label, replaced(world, INFO, shown)))
        if budget.delays and world[LATE_REPORT] != shown:
            late = self._base.spent(replaced(world, LATE_REPORT, shown), budget._replace(delays=budget.delays - 1))
            found.append(Move((*label, "is delayed"), late, fault=True))

    def _judge_durable(self, world: World, generation: int) -> None:
        journal = self._machines.journals[self._base.disks[world[DISK]].journal_kept]
        if (journal.outcome.generation if journal.outcome else 0) < generation:
            raise Violation(f"(e) the end of attempt {generation} is reported, and a power cut would undo it")

    # Effects.

    def _carry_out(self, world: World, version: int, effect: Effect, found: list[Move]) -> None:
        label: Label = (version, effect)
        base = self._base
        match effect:
            case Record():
                self._record(world, version, effect, found)
            case PointLink(release):
                found.append(self._link(world, version, RELEASES.index(release)))
            case StartUnit(release, afresh):
                started = base.start(world, RELEASES.index(release), afresh=afresh)
                found.append(self._done(label, started, version, "started"))
            case StopUnit(release):
                stopped = base.ended(world, RELEASES.index(release), self._machines.off)
                found.append(self._done(label, stopped, version, "stopped"))
            case StopOthers(keep):
                stopped = base.ended(world, 1 - RELEASES.index(keep), self._machines.off)
                found.append(self._done(label, stopped, version))
            case ReleaseLease():
                found.append(self._done(label, self._without_lease(world, version), version, "released"))
            case Retain():
                found.append(self._retain(world, version, label))
            case Exit():
                found.append(Move(label, base.ended(world, version, self._machines.left)))
            case _:
                raise NotImplementedError(effect)

    def _without_lease(self, world: World, version: int) -> World:
        lease, instance = world[LEASE], self._machines.facts(world[P0 + version]).instance
        mine = lease != NONE and self._base.leases[lease].instance_id == instance
        return replaced(world, LEASE, NONE) if mine and self._base.reach(world, version) else world

    def _done(self, label: Label, world: World, version: int, answer: str = "", argument: int = 0) -> Move:
        """The effect is carried out, and its answer is heard."""
        number = self._machines.popped(world[P0 + version])
        if answer:
            after = self._machines.hears(number, answer, argument)
            self._base.judge(world, after, label)
            number = after.proc
        return Move(label, replaced(world, P0 + version, number))

    def _record(self, world: World, version: int, effect: Record, found: list[Move]) -> None:
        number, label = world[P0 + version], (version, "records", effect.change)
        if self._machines.procs[number].half:
            durable = replaced(world, DISK, self._base.synced(world[DISK]))
            journal = self._base.disks[world[DISK]].journal
            found.append(self._done((*label, "durably"), durable, version, "recorded", journal))
            return
        after = self._base.recorded(world[DISK], effect.change)
        if isinstance(effect.change, Commit) and after != world[DISK]:
            self._judge_commit(world, version, effect.change)
        written = replaced(world, DISK, after)
        half = replaced(written, P0 + version, self._machines.halved(number))
        found.append(Move((*label, "not durably yet"), half))
        budget = self._base.budgets[world[BUDGET]]
        if budget.full:
            spent = self._base.spent(world, budget._replace(full=0))
            move = self._done((*label, "and the disk is full"), spent, version, "not recorded")
            found.append(move._replace(fault=True))

    def _judge_commit(self, world: World, version: int, change: Commit) -> None:
        instance = self._machines.facts(world[P0 + version]).instance
        if world[CONFIRMED] == NONE or self._base.confirmed[world[CONFIRMED]] != (change.generation, instance):
            raise Violation(f"(b) {instance} commits attempt {change.generation}, and nobody confirmed it")

    def _link(self, world: World, version: int, to: int) -> Move:
        number, disk = world[P0 + version], world[DISK]
        if self._machines.procs[number].half:
            kept = self._base.disk(disk, ("link kept",), lambda before: before._replace(link_kept=before.link))
            return self._done((version, "links", to, "durably"), replaced(world, DISK, kept), version, "linked")
        if not self._base.usable(to, self._base.disks[disk].files):
            return self._done((version, "finds no", to, "to link"), world, version, "link refused")
        moved = self._base.disk(disk, ("link", to), lambda before: before._replace(link=to))
        half = replaced(replaced(world, DISK, moved), P0 + version, self._machines.halved(number))
        return Move((version, "links", to, "not durably yet"), half)

    def _retain(self, world: World, version: int, label: Label) -> Move:
        disk = self._base.disk(
            self._base.synced(world[DISK]),
            ("gone",),
            lambda before: before._replace(files=Files.NONE, files_kept=Files.NONE),
        )
        return self._done(label, replaced(world, DISK, disk), version)

    # Jobs.

    def _work(self, world: World, version: int, job: Effect) -> Move:
        match job:
            case Fetch(target):
                return self._job_done("fetched", world, version, target.generation)
            case StageFiles(target):
                return self._stage(world, version, target.version == RELEASES[0].version, target.generation)
            case SelfTest(target):
                second = target.version == RELEASES[1].version
                fails = second and world[NATURE] == Nature.FAILS_TEST
                return self._job_done("test failed" if fails else "tested", world, version, target.generation)
            case _:
                raise NotImplementedError(job)

    def _no_space(self, world: World, version: int, job: Effect, found: list[Move]) -> None:
        budget = self._base.budgets[world[BUDGET]]
        if budget.full and isinstance(job, StageFiles):
            spent = self._base.spent(world, budget._replace(full=0))
            move = self._job_done("no space", spent, version, job.target.generation)
            found.append(move._replace(fault=True))

    def _stage(self, world: World, version: int, first: bool, generation: int) -> Move:
        number = world[P0 + version]
        at = self._machines.procs[number].job_step
        sync = self._base.switches.sync_files
        if first or (at == 0 and self._base.usable(1, self._base.disks[world[DISK]].files)):
            kept = self._base.disk(world[DISK], ("restage",), lambda before: _restaged(before, sync=sync))
            return self._job_done("staged", world if first else replaced(world, DISK, kept), version, generation)
        after = self._base.disk(world[DISK], ("stage", at), lambda before: _staged(before, at, sync=sync))
        written = replaced(world, DISK, after)
        if at == 3:
            return self._job_done("staged", written, version, generation)
        label = (version, ("writes the bytes", "syncs the bytes", "writes the marker")[at])
        return Move(label, replaced(written, P0 + version, self._machines.worked(number)))

    def _job_done(self, kind: str, world: World, version: int, generation: int) -> Move:
        after = self._machines.hears(self._machines.idle(world[P0 + version]), kind, generation)
        self._base.judge(world, after, (version, kind))
        return Move((version, "has", kind), replaced(world, P0 + version, after.proc))


def _staged(before: Disk, at: int, *, sync: bool) -> Disk:
    match at:
        case 0:
            return before._replace(files=Files.WHOLE, files_kept=min(before.files_kept, Files.PART))
        case 1:
            return before._replace(files_kept=Files.WHOLE) if sync else before
        case 2:
            return before._replace(files=Files.MARKED)
        case _:
            bytes_kept = before.files_kept in {Files.WHOLE, Files.MARKED}
            return before._replace(files_kept=Files.MARKED if bytes_kept else Files.DAMAGED)


def _restaged(before: Disk, *, sync: bool) -> Disk:
    return before._replace(files_kept=before.files) if sync else before
