"""Which deployments select which devices, kept from both sides."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager

from fleet.contract.objects import FleetDeployment
from fleet.contract.wire import Desired
from fleet.operator.plan.group import Group
from fleet.operator.reconcile.guard import Guard
from fleet.operator.reconcile.placement import (
    Pair,
    demanded,
    kept,
    labels,
    order_of,
    running,
    secret_problem,
    selects,
)
from fleet.operator.reconcile.secrets import SecretProblem
from fleet.operator.reconcile.snapshot import Snapshot, deleting, live
from fleet.operator.reconcile.tally import Tally


class Roster:
    """What `fleet.operator.reconcile.placement` needs to decide about one device, or one deployment, alone."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._groups: dict[str, Group] = {}
        self._filed: defaultdict[Pair | None, set[str]] = defaultdict(set)
        self._labelled: defaultdict[Pair | None, set[str]] = defaultdict(set)
        self._pairs: dict[str, frozenset[Pair]] = {}
        self._memberships: dict[str, set[str]] = {}
        self._running: dict[str, frozenset[str]] = {}
        self._holders: defaultdict[str, set[str]] = defaultdict(set)
        self._unsure: dict[str, Exception] = {}
        """Devices that could not be taken in: what they are to run is not known, and they keep what they have."""
        self._unread: set[str] = set()
        """Deployments that cannot be parsed: devices that have one keep it."""

    def deployments_changed(self, snapshot: Snapshot, names: Iterable[str]) -> set[str]:
        """Take in how deployments are now; returns the devices that this is about."""
        touched: set[str] = set()
        for name in names:
            with self._guard.of("FleetDeployment", name):
                unread = name in self._unread
                self._unread.add(name)
                touched |= self._changed(snapshot, name, anew=unread)
                self._unread.discard(name)
        return touched

    def devices_changed(self, snapshot: Snapshot, names: Iterable[str]) -> set[str]:
        """Take in how devices are now; returns the deployments that this is about."""
        deployments: set[str] = set()
        for name in names:
            with self._guard.of("Device", name), self._doubting(name):
                self._index_running(snapshot, name)
                deployments |= self._join(snapshot, name)
                self._unsure.pop(name, None)
        return deployments

    def pick(self, deployments: Iterable[str]) -> set[str]:
        """Choose the devices that begin; returns those for which that is new."""
        touched: set[str] = set()
        for name in deployments:
            if name in self._groups:
                with self._guard.of("FleetDeployment", name):
                    touched |= self._groups[name].select()
        return touched

    def wanted(self, snapshot: Snapshot, name: str) -> dict[str, Desired]:
        """The desired state that a device is to have.

        Raises:
            Exception: what kept the device from being taken in.
        """
        if (error := self._unsure.get(name)) is not None:
            raise error
        device = snapshot.devices[name]
        if not live(device):
            return {}
        wanted = kept(snapshot, device)
        wanted |= {one: current for one, current in running(snapshot, name).items() if one in self._unread}
        for deployment in sorted(self._memberships.get(name, ())):
            desired = self._groups[deployment].wanted(snapshot, name)
            if desired is not None:
                wanted[deployment] = desired
        return wanted

    def problems(self, snapshot: Snapshot, name: str) -> dict[str, SecretProblem]:
        """What keeps deployments with secrets from a device, by their names."""
        groups = [
            (deployment, self._groups[deployment].order) for deployment in sorted(self._memberships.get(name, ()))
        ]
        return {
            deployment: problem for deployment, order in groups if (problem := secret_problem(snapshot, order, name))
        }

    def tally(self, deployment: str) -> Tally | None:
        """A deployment counted over its devices; None for one that goes."""
        group = self._groups.get(deployment)
        return group.tally() if group else None

    def concerned(self, deployment: str) -> Iterator[str]:
        """The devices that a deployment selects, that have a key of it, or that received it."""
        group = self._groups.get(deployment)
        return itertools.chain(group.parts if group else (), self._holders.get(deployment, ()))

    @contextmanager
    def _doubting(self, device: str) -> Generator[None]:
        try:
            yield
        except Exception as error:
            self._unsure[device] = error
            raise

    def _changed(self, snapshot: Snapshot, name: str, *, anew: bool) -> set[str]:
        deployment, group = snapshot.deployments.get(name), self._groups.get(name)
        if deployment is not None and deleting(deployment):
            deployment = None
        if group is not None and deployment is not None and not anew and _is_unchanged(snapshot, group, deployment):
            return set()
        touched = set(self._holders.get(name, set()))
        if group is not None:
            touched |= group.parts.keys()
            self._remove(group)
        if deployment is not None:
            touched |= self._add(snapshot, Group(snapshot, deployment))
        return touched

    def _add(self, snapshot: Snapshot, group: Group) -> set[str]:
        deployment = group.deployment
        name, selector = deployment.metadata.name, deployment.spec.selector
        self._groups[name] = group
        self._filed[_index_label(deployment)].add(name)
        among = min((self._labelled.get(pair, set[str]()) for pair in (*demanded(selector), None)), key=len)
        members: set[str] = set()
        for device in among:
            with self._guard.of("Device", device), self._doubting(device):
                if selects(selector, snapshot.devices[device]):
                    group.put(snapshot, device)
                    self._memberships[device].add(name)
                    members.add(device)
        return members

    def _remove(self, group: Group) -> None:
        name, place = group.deployment.metadata.name, _index_label(group.deployment)
        del self._groups[name]
        self._filed[place].discard(name)
        if not self._filed[place]:
            del self._filed[place]
        for device in group.parts:
            self._memberships[device].discard(name)

    def _join(self, snapshot: Snapshot, name: str) -> set[str]:
        device = snapshot.devices.get(name)
        pairs = labels(device) if device is not None and live(device) and not device.spec.revoked else None
        self._label(name, pairs)
        selecting = set[str]()
        if device is not None and pairs is not None:
            near = {deployment for pair in (*pairs, None) for deployment in self._filed.get(pair, ())}
            selecting = {
                deployment for deployment in near if selects(self._groups[deployment].deployment.spec.selector, device)
            }
        before = self._memberships.get(name, set())
        changed = {deployment for deployment in before - selecting if self._groups[deployment].remove(name)}
        changed |= {deployment for deployment in selecting if self._groups[deployment].put(snapshot, name)}
        if pairs is None:
            self._memberships.pop(name, None)
        else:
            self._memberships[name] = selecting
        return changed

    def _label(self, name: str, pairs: frozenset[Pair] | None) -> None:
        """File a device that can be selected under each of its labels; None for one that cannot."""
        before = self._pairs.get(name)
        if before == pairs:
            return
        for pair in (*before, None) if before is not None else ():
            self._labelled[pair].discard(name)
            if not self._labelled[pair]:
                del self._labelled[pair]
        if pairs is None:
            del self._pairs[name]
            return
        self._pairs[name] = pairs
        for pair in (*pairs, None):
            self._labelled[pair].add(name)

    def _index_running(self, snapshot: Snapshot, name: str) -> None:
        index = snapshot.indexes.get(name)
        current = frozenset([*(index.deployments if index else ()), *snapshot.desired.get(name, ())])
        before = self._running.get(name, frozenset[str]())
        for deployment in before - current:
            self._holders[deployment].discard(name)
            if not self._holders[deployment]:
                del self._holders[deployment]
        for deployment in current - before:
            self._holders[deployment].add(name)
        if current:
            self._running[name] = current
        else:
            self._running.pop(name, None)


def _index_label(deployment: FleetDeployment) -> Pair | None:
    """The label under which a deployment is filed: a device without it is not selected. None for none."""
    return next(iter(demanded(deployment.spec.selector)), None)


def _is_unchanged(snapshot: Snapshot, group: Group, now: FleetDeployment) -> bool:
    """Whether only its status changed, and none of the Secrets that it takes."""
    before = group.deployment
    if (before.spec, _identity(before)) != (now.spec, _identity(now)):
        return False
    return not now.spec.workload.takes_secrets or group.order == order_of(snapshot, now)


def _identity(deployment: FleetDeployment) -> object:
    meta = deployment.metadata
    return meta.uid, meta.generation, meta.finalizers
