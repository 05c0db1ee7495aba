"""What the world does to a device: crashes, power cuts, outages, late messages, and people who change their mind."""

from __future__ import annotations

from tests.upgrade.model import launcher
from tests.upgrade.model.base import Base, Move, left_by_power_cut
from tests.upgrade.model.control import Control
from tests.upgrade.model.world import (
    BOOT,
    BUDGET,
    DESIRED,
    DISK,
    GRANT,
    HEARD0,
    HEARD1,
    INFO,
    LATE_REPORT,
    LEASE,
    LOCK,
    NET,
    NONE,
    OPERATOR,
    P0,
    P1,
    PROVEN,
    TARGET,
    ZOMBIE,
    Budget,
    Desired,
    Disk,
    Files,
    Unit,
    World,
    replaced,
)


class Faults:
    """Faults, and how the world gets over them."""

    def __init__(self, base: Base, control: Control) -> None:
        self._base = base
        self._control = control
        self._cuts: dict[int, tuple[tuple[Disk, int, int], ...]] = {}

    def mends(self, world: World, found: list[Move]) -> None:
        """What happens by itself, sooner or later."""
        if not world[NET]:
            found.append(Move(("NATS is back",), replaced(world, NET, 1)))
        if world[LEASE] != NONE and not self._holder_lives(world):
            found.append(Move(("the lease expires",), replaced(world, LEASE, NONE)))
        if world[NET] and world[LATE_REPORT] != NONE:
            arrived = replaced(replaced(world, INFO, world[LATE_REPORT]), LATE_REPORT, NONE)
            found.append(Move(("a late report arrives",), arrived))
        if world[NET] and world[ZOMBIE] != NONE:
            self._control.lands(world, found)

    def _holder_lives(self, world: World) -> bool:
        holder = self._base.leases[world[LEASE]].instance_id
        facts = self._base.machines.facts(world[P0 + int(holder[0])])
        return facts.unit is Unit.RUN and facts.instance == holder

    def add(self, world: World, found: list[Move]) -> None:
        """Every fault that may happen now."""
        budget = self._base.budgets[world[BUDGET]]
        if budget.crashes:
            self._crashes(world, self._base.spent(world, budget._replace(crashes=budget.crashes - 1)), found)
        if budget.outages and world[NET]:
            down = self._base.spent(replaced(world, NET, 0), budget._replace(outages=budget.outages - 1))
            found.append(Move(("NATS goes away",), down, fault=True))
        if budget.changes_of_mind and world[TARGET] != NONE:
            spent = self._base.spent(world, budget._replace(changes_of_mind=budget.changes_of_mind - 1))
            desired = (Desired.FIRST_AGAIN, Desired.SECOND_AGAIN, Desired.NOTHING)
            found.extend(
                Move(("the admin wants", one.name), replaced(spent, DESIRED, one), fault=True) for one in desired
            )
        if budget.operator_ends and world[OPERATOR]:
            ended = self._base.spent(self._without_operator(world), budget._replace(operator_ends=0))
            found.append(Move(("the operator is gone for good",), replaced(ended, OPERATOR, 0), fault=True))
        self._rare(world, budget, found)

    def _rare(self, world: World, budget: Budget, found: list[Move]) -> None:
        disk = self._base.disks[world[DISK]]
        if budget.rot and disk.files is Files.MARKED:
            rotten = self._base.disks.number(disk._replace(files=Files.DAMAGED, files_kept=Files.DAMAGED))
            spent = self._base.spent(replaced(world, DISK, rotten), budget._replace(rot=0))
            found.append(Move(("the file of 1 rots",), spent, fault=True))
        if budget.grants and world[TARGET] != NONE and world[OPERATOR]:
            target = self._base.machines.targets[world[TARGET]]
            if target.granted:
                spent = self._base.spent(world, budget._replace(grants=budget.grants - 1))
                over = replaced(spent, GRANT, target.generation)
                found.append(Move(("the grant of attempt", target.generation, "is over"), over, fault=True))
        if budget.tampers and world[LOCK] != NONE:
            spent = self._base.spent(replaced(world, LOCK, NONE), budget._replace(tampers=0))
            found.append(Move(("somebody removes the lock's file",), spent, fault=True))

    def _crashes(self, world: World, spent: World, found: list[Move]) -> None:
        for version in (0, 1):
            if self._base.machines.facts(world[P0 + version]).unit is Unit.RUN:
                killed = self._base.ended(spent, version, self._base.machines.launch)
                found.append(Move((version, "is killed"), killed, fault=True))
        if world[OPERATOR]:
            self._operator_crashes(world, spent, found)
        found.extend(
            Move(("power cut, leaving", left), self._booted(spent, number, first), fault=True)
            for left, number, first in self._left(world[DISK])
        )

    def _operator_crashes(self, world: World, spent: World, found: list[Move]) -> None:
        restarted = self._without_operator(spent)
        if restarted != spent:
            found.append(Move(("the operator restarts",), restarted, fault=True))
        wanted = self._control.decision(world)
        if world[NET] and wanted != world[TARGET]:
            write = self._base.writes.number((world[TARGET], wanted))
            late = replaced(restarted, ZOMBIE, write)
            found.append(Move(("the operator restarts, its write still under way",), late, fault=True))

    @staticmethod
    def _without_operator(world: World) -> World:
        changed = list(world)
        changed[HEARD0] = changed[HEARD1] = NONE
        changed[GRANT] = NONE  # it is counted anew
        return tuple(changed)

    def _left(self, disk: int) -> tuple[tuple[Disk, int, int], ...]:
        """Each disk that a power cut may leave, its number, and the version that the launcher then boots."""
        found = self._cuts.get(disk)
        if found is None:
            base = self._base
            found = self._cuts[disk] = tuple(
                (left, base.disks.number(left), launcher.boot(base.machines.journals[left.journal], left.link))
                for left in left_by_power_cut(base.disks[disk])
            )
        return found

    def _booted(self, world: World, disk: int, first: int) -> World:
        changed = list(world)
        changed[DISK] = disk
        changed[P0] = changed[P1] = self._base.machines.off
        changed[P0 + first] = self._base.machines.launch
        changed[LOCK], changed[PROVEN] = NONE, 0
        changed[BOOT] += 1
        return tuple(changed)
