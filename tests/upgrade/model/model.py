"""The world of one device: where it starts, every way on, what must hold, and when all is said and done.

Whatever may happen at some time may happen at any time: deadlines pass early, messages come late, twice or never. So
what holds here holds for every timing.
"""

from __future__ import annotations

from fleet.agent.upgrade.protocol.journal import Commit, HandOver, Journal, Propose, apply
from fleet.agent.upgrade.protocol.state import Phase
from fleet.contract.wire import AgentTarget
from tests.upgrade.model import launcher
from tests.upgrade.model.agents import Agents
from tests.upgrade.model.base import Base, Move, left_by_power_cut
from tests.upgrade.model.control import WANTED, Control
from tests.upgrade.model.faults import Faults
from tests.upgrade.model.world import (
    ACTIVE,
    BOOT,
    BUDGET,
    DESIRED,
    DISK,
    INFO,
    NATURE,
    NET,
    NONE,
    OPERATOR,
    P0,
    P1,
    PROVEN,
    RELEASES,
    SIZE,
    STARTS0,
    STARTS1,
    TARGET,
    VERSIONS_KEPT,
    Budget,
    Desired,
    Disk,
    Files,
    Nature,
    Pace,
    Switches,
    Unit,
    Violation,
    World,
)

_WAITS_FOR_THE_OPERATOR = frozenset({Phase.SERVING, Phase.WAITING})


class Model:
    """The moves of one device's world."""

    def __init__(self, pace: Pace = Pace.ANY, switches: Switches | None = None) -> None:
        self.base = Base(switches or Switches(), pace)
        self._agents = Agents(self.base)
        self._control = Control(self.base)
        self._faults = Faults(self.base, self._control)
        self._pairs: dict[tuple[int, int], str] = {}
        self._disks: dict[int, str] = {}

    def rollback(self, nature: Nature, budget: Budget) -> World:
        """A device that was upgraded, and an admin who wants the first version back."""
        world = list(self.start(nature, budget))
        journal = Journal(committed=RELEASES[0])
        for change in (Propose(RELEASES[1], 1), HandOver(1), Commit(1)):
            journal = apply(journal, change)
        number = self.base.machines.journals.number(journal)
        marked = Files.MARKED
        world[DISK] = self.base.disks.number(Disk(number, number, 1, 1, marked, marked))
        world[P0], world[P1], world[DESIRED] = (
            self.base.machines.off,
            self.base.machines.launch,
            Desired.FIRST_AGAIN,
        )
        order = AgentTarget(RELEASES[1].version, RELEASES[1].digest, 1, size=1, order=1, versions_kept=VERSIONS_KEPT)
        world[TARGET] = self.base.machines.targets.number(order)
        return tuple(world)

    def start(self, nature: Nature, budget: Budget) -> World:
        """A device that has run its first version for ever, and an admin who wants the second."""
        base = self.base
        base.may_fill, base.may_rot = base.may_fill or budget.full > 0, base.may_rot or budget.rot > 0
        journal = base.machines.journals.number(Journal(committed=RELEASES[0]))
        world = [NONE] * SIZE
        world[P0], world[P1] = base.machines.launch, base.machines.off
        world[DISK] = base.disks.number(Disk(journal, journal))
        world[BUDGET], world[NATURE] = base.budgets.number(budget), nature
        world[BOOT] = world[STARTS0] = world[STARTS1] = world[PROVEN] = 0
        world[NET], world[OPERATOR], world[DESIRED] = 1, 1, Desired.SECOND
        return tuple(world)

    def moves(self, world: World) -> list[Move]:
        """Every way on from here.

        Raises:
            Violation: one of them must not be.
        """
        found: list[Move] = []
        for version in (0, 1):
            self._agents.add(world, version, found)
        if world[OPERATOR]:
            self._control.add(world, found)
        self._faults.mends(world, found)
        self._faults.add(world, found)
        return found

    def calmed(self, world: World) -> World:
        """The world after all that needs no other to happen; the worlds that are explored are calm."""
        return self._control.calmed(self._agents.calmed(world))

    def check(self, world: World) -> None:
        """What must hold in every state.

        Raises:
            Violation: it does not.
        """
        pair = world[P0], world[P1]
        wrong = self._pairs.get(pair)
        if wrong is None:
            wrong = self._pairs[pair] = self._wrong_pair(*pair)
        if not wrong:
            wrong = self._disks.get(world[DISK])
            if wrong is None:
                wrong = self._disks[world[DISK]] = self._wrong_disk(self.base.disks[world[DISK]])
        if wrong:
            raise Violation(wrong)
        self._control.check(world)

    def _wrong_pair(self, first_number: int, second_number: int) -> str:
        first, second = self.base.machines.procs[first_number], self.base.machines.procs[second_number]
        if first.unit not in ACTIVE and second.unit not in ACTIVE:
            return "(a) no agent runs, and none is about to"
        if first.engine and second.engine:
            return "(b) two agents change containers"
        if first.reports and second.reports:
            return "(b) two agents report"
        return ""

    def _wrong_disk(self, disk: Disk) -> str:
        for left in left_by_power_cut(disk) if not self.base.may_rot else ():
            journal = self.base.machines.journals[left.journal]
            for kind, release in (("committed version", journal.committed), ("rollback target", journal.previous)):
                if release is not None and not launcher.verifies(RELEASES.index(release), left.files):
                    return f"(d) a power cut leaves {left}, without the {kind} {release.version}"
        return ""

    def settled(self, world: World) -> bool:
        """Whether all is said and done: one agent that serves, and a device that says how the last order ended."""
        machines = self.base.machines
        procs = [machines.procs[world[P0]], machines.procs[world[P1]]]
        running = [proc for proc in procs if proc.unit is Unit.RUN]
        if len(running) != 1 or running[0].queue or any(proc.unit not in {Unit.RUN, Unit.OFF} for proc in procs):
            return False
        if machines.journals[self.base.disks[world[DISK]].journal].candidate is not None:
            return False
        phase = machines.states[running[0].state].phase
        if not world[OPERATOR]:
            return phase in _WAITS_FOR_THE_OPERATOR
        return phase is Phase.SERVING and (world[DESIRED] == Desired.NOTHING or self._told(world))

    def _told(self, world: World) -> bool:
        if world[TARGET] == NONE:
            return False
        target = self.base.machines.targets[world[TARGET]]
        wanted = (target.version, target.order) == WANTED[Desired(world[DESIRED])]
        if target.expired:
            # The operator says how it ended: an agent that was killed since may know nothing of the attempt.
            return wanted
        if target.withdrawn or world[INFO] == NONE:
            return False
        status = self.base.machines.statuses[world[INFO]]
        return wanted and status.generation == target.generation and status.phase.terminal
