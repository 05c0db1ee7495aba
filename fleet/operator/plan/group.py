"""One deployment and the devices that it selects, counted as they change."""

from __future__ import annotations

import msgspec

from fleet.contract.objects import FleetDeployment, StrategyType
from fleet.contract.wire import Desired
from fleet.operator.plan.counting import Counting
from fleet.operator.plan.ranking import Ranking
from fleet.operator.reconcile.placement import SelectedDevice, desired_for, order_of, running_desired, selected_device
from fleet.operator.reconcile.snapshot import Snapshot
from fleet.operator.reconcile.tally import Tally


class Group:
    """The same choice and the same tally as `reconcile.placement` and `reconcile.rollout` make of all members."""

    def __init__(self, snapshot: Snapshot, deployment: FleetDeployment) -> None:
        self.deployment = deployment
        self.order = order_of(snapshot, deployment)
        self.parts: dict[str, SelectedDevice] = {}
        self._strategy = deployment.spec.strategy
        self._rolling = self._strategy.type is StrategyType.ROLLING
        self._counting = Counting()
        self._waiting: Ranking[tuple[bool]] = Ranking()
        self._on_their_way = 0
        self._picked: frozenset[str] = frozenset()

    def put(self, snapshot: Snapshot, device: str) -> bool:
        """Store the present state of a selected device; returns whether it differs from before."""
        name = self.deployment.metadata.name
        part = selected_device(snapshot, self.order, name, device)
        before = self.parts.get(device)
        if before == part:
            return False
        if before is not None:
            self._count(before, -1)
        self.parts[device] = part
        self._count(part, 1)
        self._rank(part)
        self._update_count(device)
        return True

    def remove(self, device: str) -> bool:
        """Remove a device that is no longer selected; returns whether it was selected."""
        part = self.parts.pop(device, None)
        if part is None:
            return False
        self._count(part, -1)
        self._waiting.put(device, None)
        self._counting.put(device, None)
        return True

    def select(self) -> frozenset[str]:
        """Choose those that are to begin now; returns the devices of which that is news."""
        free = 0
        if self._rolling and not self.order.frozen:
            free = max(0, self._strategy.max_unavailable - self._on_their_way)
        before, self._picked = self._picked, frozenset(self._waiting.first(free))
        changed = before ^ self._picked
        for device in changed & self.parts.keys():
            self._update_count(device)
        return changed

    def wanted(self, snapshot: Snapshot, device: str) -> Desired | None:
        """What a selected device is to run of it."""
        part = self.parts[device]
        name = self.deployment.metadata.name
        if not self.order.frozen and (self._has_begun(part) or device in self._picked):
            return desired_for(snapshot, self.order, name, device)
        return running_desired(snapshot, device, name)

    def tally(self) -> Tally:
        """The devices, counted."""
        if self.order.frozen:
            return Tally(matched=len(self.parts), oversized=self.order.oversized)
        return msgspec.structs.replace(self._counting.tally(), problem=self.order.problem)

    def _has_begun(self, part: SelectedDevice) -> bool:
        has_begun = part.member.current == self.order.edition
        return has_begun or not (self._rolling or part.member.withheld)

    def _count(self, part: SelectedDevice, step: int) -> None:
        if self._has_begun(part):
            self._on_their_way += step * part.member.on_its_way

    def _update_count(self, device: str) -> None:
        part = self.parts[device]
        has_begun = self._has_begun(part) or device in self._picked
        self._counting.put(device, part.begun if has_begun else part.held_back)

    def _rank(self, part: SelectedDevice) -> None:
        begun, member = self._has_begun(part), part.member
        self._waiting.put(member.name, (member.ready,) if not begun and member.online and not member.withheld else None)
