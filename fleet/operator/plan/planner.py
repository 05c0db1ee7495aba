"""The decision of the operator about what may have changed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleet.operator.plan.alarms import Alarms
from fleet.operator.plan.changes import Changes
from fleet.operator.plan.locks import Locks
from fleet.operator.plan.roster import Roster
from fleet.operator.plan.subject_claims import SubjectClaims
from fleet.operator.reconcile.actions import Action, Kind, stage
from fleet.operator.reconcile.deployments import reconcile_deployment, reconcile_unparsed
from fleet.operator.reconcile.devices import reconcile_device
from fleet.operator.reconcile.guard import Guard, Trouble, raised
from fleet.operator.reconcile.placement import DevicePlacement
from fleet.operator.reconcile.snapshot import Snapshot, deleting, held

SLICE = 500
"""Devices that are decided about at once. More wait, so that what happens next is not behind a whole fleet."""


class Plan(msgspec.Struct, frozen=True):
    """What to do, in the order in which to do it.

    `decided` are the objects that were looked at: nothing but this is to be done for them. Of others nothing changed.
    `more` says that there are others, which wait for the next plan.
    """

    actions: Sequence[Action]
    decided: frozenset[tuple[Kind, str]]
    more: bool


class Planner:
    """Takes changes out of `changes`, and decides about them in the next plan or a later one."""

    def __init__(self, changes: Changes, limit: int = SLICE) -> None:
        """Decide about at most `limit` devices at once. The first plan looks at everything."""
        self._changes = changes
        self._limit = limit
        self._guard = Guard(raised)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all conclusions and decide about everything again, which finds every missed change."""
        guard = self._guard
        self._claims, self._roster, self._locks, self._alarms = (
            SubjectClaims(guard),
            Roster(guard),
            Locks(guard),
            Alarms(guard),
        )
        self._backlog: dict[str, None] = {}
        self._deployments: set[str] = set()
        self._anew = True

    def again(self, plan: Plan) -> None:
        """A plan was not carried out to its end: decide about the same objects again."""
        for kind, name in plan.decided:
            self.decide_again(kind, name)

    def decide_again(self, kind: Kind, name: str) -> None:
        """Something that was decided of an object was not done."""
        (self._changes.device if kind == "Device" else self._changes.deployment)(name)

    def next_alarm(self) -> float | None:
        """When time alone calls for another plan, on `Snapshot.clock`."""
        return self._alarms.next()

    def alarmed(self, snapshot: Snapshot, trouble: Trouble) -> bool:
        """Whether time alone has changed something. Mostly a heartbeat has come since, and there is nothing to plan."""
        self._guard.trouble = trouble
        due = self._alarms.due(snapshot)
        for name in due:
            self._changes.device(name)
        return bool(due)

    def plan(self, snapshot: Snapshot, trouble: Trouble) -> Plan:
        """The actions for everything that has changed. An unexpected error in one object is passed to `trouble`.

        The indexes are brought up to date for all of it, so no choice is made of what is known to be otherwise.
        """
        self._guard.trouble = trouble
        try:
            devices = self._next_devices(snapshot)
            actions = [action for name in devices for action in self._device(snapshot, name)]
            deployments = [name for name in self._deployments if self._is_due(snapshot, name)]
            self._deployments -= set(deployments)
            for name in deployments:
                actions += self._deployment(snapshot, name)
        except BaseException:
            self.begin_anew()
            raise
        decided = {*(_key("Device", name) for name in devices), *(_key("FleetDeployment", one) for one in deployments)}
        return Plan(sorted(actions, key=stage), frozenset(decided), bool(self._backlog))

    def _next_devices(self, snapshot: Snapshot) -> list[str]:
        """Take in every change; returns the devices to decide about now, the newest before those that waited.

        Those that were only told something wait longest: as a rule, that was decided.
        """
        if self._anew:
            self._check_all(snapshot)
        changes = self._changes
        # A `DeviceId` is a text, too, and the same key; but it is not what is written to a server.
        devices, orders = ({str(name): None for name in names} for names in (changes.devices, changes.orders))
        self._deployments |= changes.deployments
        subjects, versions = set(changes.subjects), set(changes.versions)
        changes.clear()
        # Who is kept out holds up no rollout.
        devices.update((str(known.device), None) for subject in subjects if (known := snapshot.identities.get(subject)))
        devices.update(dict.fromkeys([*self._alarms.due(snapshot), *self._locks.wanting(versions)]))
        changed = {**devices, **orders}
        counted = self._roster.devices_changed(snapshot, changed)
        drawn = self._roster.deployments_changed(snapshot, self._deployments)
        self._deployments |= counted
        drawn |= self._roster.pick(self._deployments)
        drawn |= self._claims.devices_changed(snapshot, devices) | self._claims.subjects_changed(snapshot, subjects)
        drawn |= self._locks.devices_changed(snapshot, changed)
        due = [*{**devices, **dict.fromkeys(sorted(drawn)), **self._backlog, **orders}]
        self._backlog = dict.fromkeys(due[self._limit :])
        return due[: self._limit]

    def _check_all(self, snapshot: Snapshot) -> None:
        self._anew = False
        for name in sorted({*snapshot.devices, *(str(identity.device) for identity in snapshot.identities.values())}):
            self._changes.device(name)
        self._changes.deployments.update({*snapshot.deployments, *snapshot.unparsed_deployments})
        self._changes.subjects.update(snapshot.identities)

    def _device(self, snapshot: Snapshot, name: str) -> list[Action]:
        device = snapshot.devices.get(name)
        if device is None:
            self._alarms.forget(name)
        actions: list[Action] = []
        with self._guard.of("Device", name):
            admitted = self._claims.admit(snapshot, name)
            if admitted is None:
                return []
            # Who may come in is decided first, and stands whatever becomes of the rest.
            actions += admitted[0]
            if device is not None:
                self._alarms.decided(snapshot, name)
            orders, upgraded = self._locks.lead(snapshot, name)
            actions += orders
            if device is not None:
                placement = DevicePlacement(self._roster.wanted(snapshot, name), self._roster.problems(snapshot, name))
                actions += reconcile_device(snapshot, device, admitted[1], placement, upgraded)
        return actions

    def _is_due(self, snapshot: Snapshot, name: str) -> bool:
        """Whether no part of a deployment's status depends on a device that waits.

        Its finalizer is removed after its last key, and its updated devices must be written first.
        """
        deployment = snapshot.deployments.get(name)
        if deployment is None or not (held(deployment) or deleting(deployment)):
            return True
        return not self._backlog or not any(name in self._backlog for name in self._roster.concerned(name))

    def _deployment(self, snapshot: Snapshot, name: str) -> list[Action]:
        deployment, refused = snapshot.deployments.get(name), snapshot.unparsed_deployments.get(name)
        with self._guard.of("FleetDeployment", name):
            if refused is not None:
                return reconcile_unparsed(refused, snapshot.now)
            if deployment is None:
                return []
            return reconcile_deployment(deployment, self._roster.tally(name), snapshot.now)
        return []


def _key(kind: Kind, name: str) -> tuple[Kind, str]:
    return kind, name
