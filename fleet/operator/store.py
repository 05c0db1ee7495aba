"""Our own store of everything known, from Kubernetes and from NATS, and whether it changed in a way that matters.

One thread writes it, between two reconciles. A writer is told whether what came is news: an echo of our own write, a
heartbeat of a device that is online, and a value as it was before are none.
"""

from __future__ import annotations

import math
import time
from typing import TypeVar

import structlog

from fleet.contract.names import AgentVersion
from fleet.contract.objects import Device, FleetDeployment
from fleet.contract.wire import (
    AgentLease,
    AgentTarget,
    Desired,
    DesiredIndex,
    DeviceInfo,
    DeviceState,
    Heartbeat,
    Identity,
    IdentityState,
)
from fleet.operator.duplicates import alternates, counted
from fleet.operator.objects import Shelf
from fleet.operator.reconcile.snapshot import ALTERNATIONS, Alternation, Heard, Holding, Refused, Snapshot, deadline
from fleet.operator.upgrade.view import Artifact, Rules

log = structlog.get_logger()

K = TypeVar("K")
V = TypeVar("V")

_SHOWN = 200
"""Characters of a reason that a log line shows."""
_INSTANCES = 4
"""Agent instances of one device whose heartbeats are kept: two are alive at once, and one may be restarting."""


class Store:
    """Everything known."""

    def __init__(self, offline_after: float, rules: Rules | None = None) -> None:
        """Begin knowing nothing. `offline_after` is in heartbeat intervals."""
        self._offline_after = offline_after
        self._rules = rules or Rules()
        self.devices: Shelf[Device] = Shelf()
        self.deployments: Shelf[FleetDeployment] = Shelf()
        self.unread: dict[str, set[str]] = {"Device": set(), "FleetDeployment": set()}
        """By kind, the objects that are there and do not parse."""
        self.indexes: dict[str, DesiredIndex] = {}
        self.desired: dict[str, dict[str, Desired]] = {}
        self.states: dict[str, dict[str, DeviceState]] = {}
        self.infos: dict[str, DeviceInfo] = {}
        self.refused: dict[str, Refused] = {}
        self.heard: dict[str, Heard] = {}
        self.excused: dict[str, float] = {}
        self.identities: dict[str, Identity] = {}
        self.dropped: dict[str, frozenset[str]] = {}
        self.beats: dict[str, dict[str, Heard]] = {}
        self.doubled: dict[str, Alternation] = {}
        self.targets: dict[str, AgentTarget] = {}
        self.grants: dict[str, tuple[int, float]] = {}
        self.leases: dict[str, Holding] = {}
        self.published: dict[AgentVersion, Artifact] = {}

    def snapshot(self) -> Snapshot:
        """All of it, now. It shares our maps, so it is valid until the next change."""
        return Snapshot(
            now=time.time(),
            clock=time.monotonic(),
            offline_after=self._offline_after,
            devices=self.devices.items,
            deployments=self.deployments.items,
            unread_devices=frozenset(self.unread["Device"]),
            unread_deployments=frozenset(self.unread["FleetDeployment"]),
            indexes=self.indexes,
            desired=self.desired,
            states=self.states,
            infos=self.infos,
            refused=self.refused,
            heard=self.heard,
            identities=self.identities,
            dropped=self.dropped,
            beats=self.beats,
            targets=self.targets,
            grants=self.grants,
            leases=self.leases,
            published=self.published,
            rules=self._rules,
            excused=self.excused,
            doubled=self.doubled,
        )

    def next_deadline(self) -> float | None:
        """When the next device goes offline unless it is heard, or has soaked, on the monotonic clock."""
        clock = time.monotonic()
        overdue = (
            deadline(heard, self._offline_after, self.excused.get(name, 0.0))
            for name, heard in self.heard.items()
            if name in self.devices.items
        )
        soaked = (holding.since + self._rules.soak for holding in self.leases.values())
        return min((moment for moment in (*overdue, *soaked) if moment > clock), default=None)

    def put_index(self, device: str, index: DesiredIndex | None) -> bool:
        """An index as it is; None when there is none that parses."""
        return _put(self.indexes, device, index)

    def put_desired(self, device: str, deployment: str, desired: Desired | None) -> bool:
        """An entry as it is; None when there is none that parses."""
        return _put_nested(self.desired, device, deployment, desired)

    def put_state(self, device: str, deployment: str, state: DeviceState | None) -> bool:
        """A report as it is; only another verdict is news."""
        before = self.states.get(device, {}).get(deployment)
        _put_nested(self.states, device, deployment, state)
        if before is None or state is None:
            return before is not state
        return _verdict(before) != _verdict(state)

    def put_info(self, device: str, info: DeviceInfo | None) -> bool:
        """What a device is."""
        return _put(self.infos, device, info)

    def refuse_info(self, device: str, info: DeviceInfo, why: str) -> None:
        """Kubernetes does not take what a device said of itself."""
        self.refused[device] = Refused(info, why)
        log.warning("what a device says of itself is refused", device=device, why=why[:_SHOWN])

    def put_identity(self, subject: str, identity: Identity | None) -> bool:
        """An entry of the registry as it is. Who is let in has sessions again."""
        if identity is not None and identity.state is IdentityState.ACTIVE:
            self.dropped.pop(identity.device, None)
        return _put(self.identities, subject, identity)

    def put_heartbeat(self, device: str, heartbeat: Heartbeat, age: float, revision: int) -> bool:
        """A heartbeat that reached the server `age` seconds ago; news when the device was offline before.

        One that was read before, by its revision, is not taken again: then a step of a clock cannot make it younger.
        """
        before = self.heard.get(device)
        if before is not None and revision and before.revision == revision:
            return False
        clock = time.monotonic()
        at = clock - max(0.0, age)
        if before is not None and before.at > at:
            self.heard[device] = Heard(before.heartbeat, before.at, revision)
            return False
        self.heard[device] = Heard(heartbeat, at, revision)
        other_agent = self._keep_beat(device, Heard(heartbeat, at, revision))
        return (
            self._doubled(device, clock)
            or other_agent
            or before is None
            or deadline(before, self._offline_after) <= clock
        )

    def _doubled(self, device: str, clock: float) -> bool:
        """Whether it is news that two devices use one identity, or that they do not any more."""
        known = self.doubled.get(device)
        if known is None:
            return False
        heard = self.heard[device]
        if clock - known.at > deadline(heard, self._offline_after) - heard.at:
            del self.doubled[device]
            return True
        return known.times == ALTERNATIONS and known.at == heard.at

    def hearing(self, hears: bool) -> None:
        """Whether devices can be heard now. Those that were online stay so in an outage, and have time to come back."""
        snapshot = self.snapshot()
        if not hears:
            self.excused = {name: math.inf for name in self.heard if snapshot.online(name)}
            return
        for name, until in self.excused.items():
            if until == math.inf and name in self.heard:
                afresh = Heard(self.heard[name].heartbeat, snapshot.clock)
                self.excused[name] = deadline(afresh, self._offline_after)

    def _keep_beat(self, device: str, heard: Heard) -> bool:
        """Keep the last heartbeat of each instance, the newest last; says whether it told something new of one."""
        beats = self.beats.setdefault(device, {})
        before = beats.pop(heard.heartbeat.instance_id, None)
        if alternates(beats, before, heard):
            span = deadline(heard, self._offline_after) - heard.at
            self.doubled[device] = counted(self.doubled.get(device), heard.at, span)
        beats[heard.heartbeat.instance_id] = heard
        while len(beats) > _INSTANCES:
            del beats[next(iter(beats))]
        return before is None or _identity(before.heartbeat) != _identity(heard.heartbeat)

    def put_target(self, device: str, target: AgentTarget | None) -> bool:
        """What a device is ordered."""
        if target is not None and target.granted:
            generation, since = self.grants.get(device, (0, 0.0))
            self.grants[device] = (target.generation, since if generation == target.generation else time.monotonic())
        return _put(self.targets, device, target)

    def put_lease(self, device: str, lease: AgentLease | None) -> bool:
        """Which agent writes; its renewals are no news."""
        before = self.leases.get(device)
        if lease is None:
            return self.leases.pop(device, None) is not None
        same = before is not None and _holder(before.lease) == _holder(lease)
        self.leases[device] = Holding(lease, before.since if before and same else time.monotonic())
        return not same

    def put_published(self, version: AgentVersion, artifact: Artifact | None) -> bool:
        """An agent that devices can fetch."""
        return _put(self.published, version, artifact)

    def forget_heartbeat(self, device: str) -> bool:
        """A device's heartbeat was deleted."""
        self.beats.pop(device, None)
        return self.heard.pop(device, None) is not None

    def forget_device(self, device: str) -> None:
        """A device's keys were deleted."""
        reported = (self.indexes, self.desired, self.states, self.infos, self.refused, self.heard, self.dropped)
        for known in (*reported, self.beats, self.doubled, self.targets, self.grants, self.leases):
            known.pop(device, None)

    def sessions_gone(self, device: str, denied: frozenset[str]) -> bool:
        """A device has no session, after the registry denied `denied`; ignored if it was let in meanwhile."""
        for subject in denied:
            identity = self.identities.get(subject)
            if identity is not None and (identity.device, identity.state) != (device, IdentityState.REVOKED):
                return False
        before = self.dropped.get(device)
        self.dropped[device] = denied | (before or frozenset())
        return before != self.dropped[device]

    def session_begun(self, device: str) -> None:
        """A device that may have no session has one: what was seen before no longer holds."""
        self.dropped.pop(device, None)

    def barred(self, user: str) -> bool:
        """Whether a NATS user of this name is a device that may have no session."""
        known = self.devices.items.get(user)
        return known is not None and (known.spec.revoked or known.metadata.deletion_timestamp is not None)


def _verdict(state: DeviceState) -> object:
    return state.generation, state.phase, state.reason, state.message


def _identity(heartbeat: Heartbeat) -> object:
    return heartbeat.agent_version, heartbeat.boot_id, heartbeat.generation


def _holder(lease: AgentLease) -> object:
    return lease.instance_id, lease.generation, lease.boot_id


def _put(known: dict[K, V], key: K, value: V | None) -> bool:
    if value is None:
        return known.pop(key, None) is not None
    if known.get(key) == value:
        return False
    known[key] = value
    return True


def _put_nested(known: dict[str, dict[str, V]], outer: str, inner: str, value: V | None) -> bool:
    changed = _put(known.setdefault(outer, {}), inner, value)
    if not known[outer]:
        del known[outer]
    return changed
