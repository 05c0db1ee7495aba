"""Holders of the upgrade lock, devices that wait for it, and failed upgrades, by device."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from fleet.contract.names import AgentVersion
from fleet.operator.new_condition import NewCondition
from fleet.operator.plan.ranking import Ranking
from fleet.operator.reconcile.actions import Action, WriteTarget
from fleet.operator.reconcile.guard import Guard
from fleet.operator.reconcile.snapshot import Snapshot, held
from fleet.operator.reconcile.upgrades import view_of
from fleet.operator.upgrade.decide import decide_device, failure, would_begin
from fleet.operator.upgrade.guards import holds_lock
from fleet.operator.upgrade.view import DeviceView, FleetView


class Locks:
    """What `fleet.operator.upgrade` needs to decide about one device alone."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._holders: set[str] = set()
        self._waiting: Ranking[tuple[()]] = Ranking()
        self._failed: dict[str, AgentVersion] = {}
        self._failures: Counter[AgentVersion] = Counter()
        self._wanted: dict[str, AgentVersion] = {}
        self._wanting: defaultdict[AgentVersion, set[str]] = defaultdict(set)
        self._begin: set[str] = set()

    @property
    def held(self) -> int:
        """How many hold the lock."""
        return len(self._holders)

    def wanting(self, versions: Iterable[AgentVersion]) -> set[str]:
        """The devices that are to have one of these versions."""
        return {name for version in versions for name in self._wanting.get(version, ())}

    def devices_changed(self, snapshot: Snapshot, names: Iterable[str]) -> set[str]:
        """Take in how devices stand now; returns the other devices that this is about."""
        before = self._halted(snapshot)
        for name in names:
            self._take(snapshot, name)
        turned = self.wanting(before ^ self._halted(snapshot))
        for name in turned:
            self._take(snapshot, name)
        before_them, self._begin = self._begin, set(self._waiting.first(self._free(snapshot)))
        return turned | (before_them ^ self._begin)

    def _free(self, snapshot: Snapshot) -> int:
        return max(0, snapshot.rules.at_once - self.held)

    def lead(self, snapshot: Snapshot, name: str) -> tuple[list[Action], NewCondition | None]:
        """The order to write for a device, if any, and its condition, if there is one."""
        view = _view(snapshot, name)
        if view is None:
            return [], None
        fleet = FleetView({}, snapshot.published, snapshot.rules)
        halted = view.wanted is not None and self._is_halted(snapshot, view.wanted)
        decision = decide_device(fleet, view, may_begin=name in self._begin, halted=halted)
        orders: list[Action] = [WriteTarget(name, decision.target, view.target)] if decision.target else []
        return orders, decision.condition

    def _take(self, snapshot: Snapshot, name: str) -> None:
        wanted = failed = None
        holds = waits = False
        # One that cannot be judged holds up nobody else.
        with self._guard.of("Device", name):
            if (view := _view(snapshot, name)) is not None:
                holds, waits = holds_lock(view), would_begin(view, snapshot.published)
                wanted, failed = view.wanted, failure(view)
        self._want(name, wanted)
        self._fail(name, failed)
        (self._holders.add if holds else self._holders.discard)(name)
        halted = wanted is not None and self._is_halted(snapshot, wanted)
        self._waiting.put(name, () if waits and not halted else None)

    def _want(self, name: str, version: AgentVersion | None) -> None:
        before = self._wanted.pop(name, None)
        if before is not None and before != version:
            self._wanting[before].discard(name)
            if not self._wanting[before]:
                del self._wanting[before]
        if version is not None:
            self._wanted[name] = version
            self._wanting[version].add(name)

    def _fail(self, name: str, version: AgentVersion | None) -> None:
        before = self._failed.pop(name, None)
        if before is not None:
            self._failures[before] -= 1
            if not self._failures[before]:
                del self._failures[before]
        if version is not None:
            self._failed[name] = version
            self._failures[version] += 1

    def _is_halted(self, snapshot: Snapshot, version: AgentVersion) -> bool:
        return version in self._failures and self._failures[version] >= snapshot.rules.abort_after

    def _halted(self, snapshot: Snapshot) -> set[AgentVersion]:
        return {version for version in self._failures if self._is_halted(snapshot, version)}


def _view(snapshot: Snapshot, name: str) -> DeviceView | None:
    """None for a device that no version was ever ordered for, too: it is all of a fleet, as a rule."""
    device = snapshot.devices.get(name)
    if device is None or not held(device) or not (device.spec.agent_version or name in snapshot.targets):
        return None
    return view_of(snapshot, device)
