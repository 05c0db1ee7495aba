"""The moves of the operator: it hears heartbeats, decides as the operator that ships, and writes the order."""

from __future__ import annotations

from fleet.contract.config import UpgradeRules
from fleet.contract.wire import AgentTarget
from fleet.operator.upgrade.decide import decide
from fleet.operator.upgrade.view import Artifact, DeviceView, FleetView
from tests.upgrade.model.base import Base, Label, Move
from tests.upgrade.model.world import (
    BUDGET,
    CONFIRMED,
    DESIRED,
    GRANT,
    HEARD0,
    HEARD1,
    INFO,
    LATE_BEAT,
    LATE_TARGET,
    LEASE,
    NATURE,
    NET,
    NONE,
    OPERATOR,
    P0,
    P1,
    PROVEN,
    RELEASES,
    TARGET,
    VERSIONS_KEPT,
    ZOMBIE,
    Desired,
    Nature,
    Pace,
    Unit,
    Violation,
    World,
    replaced,
)

WANTED = {
    Desired.SECOND: (RELEASES[1].version, 1),
    Desired.FIRST_AGAIN: (RELEASES[0].version, 2),
    Desired.SECOND_AGAIN: (RELEASES[1].version, 2),
    Desired.NOTHING: (None, 2),
}
_PUBLISHED = {one.version: Artifact(one.digest, 1) for one in RELEASES}
# A soak may be as short as one likes: that it takes longer is one of the timings that are explored anyway.
_RULES = UpgradeRules(soak=0)


class Control:
    """The operator's moves."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._decided: dict[tuple[int, ...], int] = {}

    def add(self, world: World, found: list[Move]) -> None:
        """What an operator that lives may do next."""
        for version in (0, 1):
            self._hear(world, version, found)
        late = world[LATE_BEAT]
        if late != NONE:
            place = HEARD0 + int(self._base.machines.beats[late].instance_id[0])
            if world[place] != late:
                found.append(Move(("a late heartbeat arrives",), replaced(world, place, late)))
        if world[NET]:
            wanted = self.decision(world)
            if wanted != world[TARGET]:
                self._write(world, wanted, "the operator writes", found)

    def calmed(self, world: World) -> World:
        """The world after every heartbeat that takes no time."""
        if self._base.pace is Pace.PROMPT and world[OPERATOR]:
            for version in (0, 1):
                moves: list[Move] = []
                self._hear(world, version, moves)
                world = moves[0].world if moves else world
        return world

    def _hear(self, world: World, version: int, found: list[Move]) -> None:
        beat = self._sent(world, version)
        if beat == world[HEARD0 + version]:
            return
        changed = list(world)
        changed[HEARD0 + version] = beat
        if beat == NONE:
            found.append(Move(("the last heartbeat of", version, "is not fresh any more"), tuple(changed)))
            return
        changed[PROVEN] = self._base.proven(world, beat)
        found.append(Move(("the operator hears", version), tuple(changed)))
        budget = self._base.budgets[world[BUDGET]]
        if budget.delays and beat != world[LATE_BEAT]:
            sent = replaced(replaced(world, LATE_BEAT, beat), PROVEN, changed[PROVEN])
            late = self._base.spent(sent, budget._replace(delays=budget.delays - 1))
            found.append(Move(("a heartbeat of", version, "is delayed"), late, fault=True))

    def _sent(self, world: World, version: int) -> int:
        facts = self._base.machines.facts(world[P0 + version])
        if facts.unit is not Unit.RUN or not facts.connected or not self._base.reach(world, version):
            return NONE
        return self._base.beat(world, version)

    def decision(self, world: World) -> int:
        """The order that the operator wants, by number."""
        writes = self._base.machines.procs[world[P1]].engine
        healthy = not (writes and world[NATURE] == Nature.MAKES_SICK)
        key = (*(world[at] for at in (TARGET, INFO, LEASE, HEARD0, HEARD1, DESIRED, GRANT)), healthy)
        found = self._decided.get(key)
        if found is None:
            found = self._decided[key] = self._decide(world, healthy=healthy)
        return found

    def _decide(self, world: World, *, healthy: bool) -> int:
        machines = self._base.machines
        wanted, order = WANTED[Desired(world[DESIRED])]
        target = world[TARGET]
        view = DeviceView(
            wanted=wanted,
            order=order,
            versions_kept=VERSIONS_KEPT,
            target=machines.targets[target] if target != NONE else None,
            status=machines.statuses[world[INFO]] if world[INFO] != NONE else None,
            beats=tuple(machines.beats[world[at]] for at in (HEARD0, HEARD1) if world[at] != NONE),
            lease=self._base.leases[world[LEASE]] if world[LEASE] != NONE else None,
            healthy=healthy,
            grant_over=target != NONE and world[GRANT] == machines.targets[target].generation,
        )
        new = decide(FleetView({"pi": view}, _PUBLISHED, _RULES))["pi"].target
        return target if new is None else machines.targets.number(new)

    def _write(self, world: World, wanted: int, who: str, found: list[Move]) -> None:
        target = self._base.machines.targets[wanted]
        label: Label = (who, target)
        if world[TARGET] != NONE:
            self._judge_expired(self._base.machines.targets[world[TARGET]], target)
        written = list(world)
        written[TARGET] = wanted
        if target.confirmed:
            written[CONFIRMED] = self._base.confirmed.number((target.generation, target.confirmed))
        found.append(Move(label, tuple(written)))
        budget = self._base.budgets[world[BUDGET]]
        if budget.delays and world[TARGET] not in {NONE, world[LATE_TARGET]}:
            written[LATE_TARGET] = world[TARGET]
            late = self._base.spent(tuple(written), budget._replace(delays=budget.delays - 1))
            found.append(Move((*label, "; the order before is delayed"), late, fault=True))

    @staticmethod
    def _judge_expired(before: AgentTarget, after: AgentTarget) -> None:
        """What held the lock too long is over, also for an operator that does not know of it any more.

        Raises:
            Violation: it is not.
        """
        if before.expired and before.generation == after.generation and (after.granted or not after.expired):
            raise Violation("(g) what held the lock too long is given it again")
        if before.expired and before.order == after.order and before.generation != after.generation:
            raise Violation("(g) what held the lock too long begins again, and nobody ordered it")

    def check(self, world: World) -> None:
        """What must hold once the operator has nothing to write.

        Raises:
            Violation: it does not.
        """
        if world[GRANT] == NONE or not (world[NET] and world[OPERATOR]) or self.decision(world) != world[TARGET]:
            return
        target = self._base.machines.targets[world[TARGET]]
        status = self._base.machines.statuses[world[INFO]] if world[INFO] != NONE else None
        over = status is not None and status.generation == target.generation and status.phase.terminal
        if world[GRANT] == target.generation and not over and not target.withdrawn:
            raise Violation("(g) the lock was held too long, and the device is not told to turn back")

    def lands(self, world: World, found: list[Move]) -> None:
        """A write that a former operator sent before it died."""
        expected, wanted = self._base.writes[world[ZOMBIE]]
        done = replaced(world, ZOMBIE, NONE)
        if expected != world[TARGET] and self._base.switches.compare_and_set:
            found.append(Move(("a write of the former operator comes too late",), done))
        else:
            self._write(done, wanted, "a write of the former operator lands:", found)
