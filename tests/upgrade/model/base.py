"""What all moves share: the pools, systemd, and what an oracle says of a transition."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

from fleet.agent.upgrade.device import retain
from fleet.agent.upgrade.protocol.journal import Change, CountAttempt, apply
from fleet.contract.wire import AgentLease
from tests.upgrade.model import launcher
from tests.upgrade.model.process import ANOTHER, After, Processes
from tests.upgrade.model.world import (
    BUDGET,
    LOCK,
    NATURE,
    NET,
    NONE,
    P0,
    PROVEN,
    RELEASES,
    Budget,
    Disk,
    Files,
    Nature,
    Pace,
    Pool,
    Switches,
    Unit,
    Violation,
    World,
    replaced,
)

Label = tuple[object, ...]
"""Words, put together only for a trace."""


class Move(NamedTuple):
    """One way on. A fault may happen; what is none will happen, if nothing else does."""

    label: Label
    world: World
    fault: bool = False


class Base:
    """The pools of one model, and the moves that several others are made of."""

    def __init__(self, switches: Switches, pace: Pace) -> None:
        self.switches = switches
        self.pace = pace
        self.machines = Processes()
        self.disks: Pool[Disk] = Pool()
        self.leases: Pool[AgentLease] = Pool()
        self.budgets: Pool[Budget] = Pool()
        self.confirmed: Pool[tuple[int, str]] = Pool()
        """Attempt and instance that the operator confirmed last."""
        self.writes: Pool[tuple[int, int]] = Pool()
        """The order that a write expects to find, and the one that it brings."""
        self.may_fill = self.may_rot = False
        """Faults after which an oracle promises less."""
        self._disks: dict[tuple[object, ...], int] = {}

    # Disk.

    def disk(self, disk: int, key: tuple[object, ...], change: Callable[[Disk], Disk]) -> int:
        """The disk after a change that `key` names.

        Raises:
            Violation: made once more, it changes something; but each start counts.
        """
        known = (disk, *key)
        found = self._disks.get(known)
        if found is None:
            once = change(self.disks[disk])
            if change(once) != once and not isinstance(key[-1], CountAttempt):
                raise Violation(f"(f) what is done twice is not as if it was done once: {key}")
            found = self._disks[known] = self.disks.number(once)
        return found

    def recorded(self, disk: int, change: Change) -> int:
        """The disk with a line in the journal that is not durable yet."""

        def written(before: Disk) -> Disk:
            after = apply(self.machines.journals[before.journal], change)
            return before._replace(journal=self.machines.journals.number(after))

        return self.disk(disk, ("record", change), written)

    def synced(self, disk: int) -> int:
        """The disk with its journal durable."""
        if not self.switches.sync_journal:
            return disk
        return self.disk(disk, ("sync",), lambda before: before._replace(journal_kept=before.journal))

    def usable(self, version: int, files: Files) -> bool:
        """Whether whoever verifies a version's files takes them for whole."""
        return launcher.verifies(version, files) or (files is Files.DAMAGED and not self.switches.digest)

    def has_surplus(self, disk: int) -> bool:
        """Whether the second version's files are there, and nothing needs them."""
        seen = self.disks[disk]
        needed = retain.needed(self.machines.journals[seen.journal], RELEASES[seen.link].version)
        return seen.files is not Files.NONE and RELEASES[1].version not in needed

    # systemd.

    def start(self, world: World, version: int, *, afresh: bool) -> World:
        """`systemctl start`, or `restart`."""
        unit = self.machines.facts(world[P0 + version]).unit
        if unit is not Unit.OFF and not (afresh and self.switches.afresh):
            return world
        return self.ended(world, version, self.machines.launch)

    def ended(self, world: World, version: int, now: int) -> World:
        """The process is gone, its lock with it, and the unit is `now`."""
        changed = list(world)
        changed[P0 + version] = now
        if world[LOCK] == version:
            changed[LOCK] = NONE
        return tuple(changed)

    def reach(self, world: World, version: int) -> bool:
        """Whether NATS answers this version's agent."""
        return world[NET] == 1 and not (version == 1 and world[NATURE] == Nature.CANNOT_CONNECT)

    def spent(self, world: World, budget: Budget) -> World:
        """The world with less left to happen."""
        return replaced(world, BUDGET, self.budgets.number(budget))

    # Messages.

    def beat(self, world: World, version: int) -> int:
        """The heartbeat that this version's agent sends now; NONE for none that says anything of an attempt."""
        lies = version == 1 and world[NATURE] == Nature.SAYS_ANOTHER_VERSION
        beat = self.machines.beat(world[P0 + version], lies=lies)
        return beat if self.machines.beats[beat].generation else NONE

    def proven(self, world: World, beat: int) -> int:
        """The attempt whose candidate was heard in this boot, now that this was heard first-hand."""
        heard = self.machines.beats[beat]
        return max(world[PROVEN], heard.generation) if heard.agent_version != ANOTHER else world[PROVEN]

    @staticmethod
    def judge(world: World, after: After, label: Label) -> None:
        """What must hold of a transition.

        Raises:
            Violation: it does not.
        """
        if after.stopping and after.stopping != world[PROVEN]:
            raise Violation(f"(b) it hands over to a candidate that was not heard in this boot and attempt: {label}")
        if after.hasty:
            raise Violation(f"(e) the trial is taken back because NATS answers neither of them: {label}")
        if after.forgetful:
            raise Violation(f"(e) a release that is known to be bad is tried again: {label}")


def left_by_power_cut(disk: Disk) -> list[Disk]:
    """Every disk that a power cut may leave: of what was not synced, anything may be lost, in any order."""
    files = {disk.files, disk.files_kept}
    if disk.files is not disk.files_kept and disk.files_kept <= Files.PART:
        files |= {Files.PART} if disk.files is Files.WHOLE else {Files.PART, Files.DAMAGED}
    journals, links = {disk.journal, disk.journal_kept}, {disk.link, disk.link_kept}
    return [Disk(j, j, k, k, f, f) for j, k, f in product(sorted(journals), sorted(links), sorted(files))]
