"""Our own store of everything known, from Kubernetes and from NATS, and whether it changed in a way that matters.

One thread writes it, between two reconciles. Each `put` returns whether the value is news: an echo of our own write, a
heartbeat of a device that is online, and a value as it was before are none.
"""

from __future__ import annotations

import time
from collections import defaultdict

import structlog

from fleet.contract.config import UpgradeRules
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
from fleet.operator.clocks import Clocks
from fleet.operator.connectivity import Connectivity
from fleet.operator.duplicates import alternates, counted
from fleet.operator.essence import agent_of, holder, state_of
from fleet.operator.known_secrets import KnownSecrets
from fleet.operator.maps import put, put_nested
from fleet.operator.objects import ObjectCache
from fleet.operator.plan.changes import Changes
from fleet.operator.reconcile.actions import Kind
from fleet.operator.reconcile.quarantine import identity_of
from fleet.operator.reconcile.snapshot import (
    ALTERNATIONS,
    Alternation,
    Holding,
    ReceivedHeartbeat,
    Refused,
    Snapshot,
    Unparsed,
    deadline,
)
from fleet.operator.upgrade.view import Artifact

log = structlog.get_logger()

_SHOWN = 200
"""Characters of a reason that a log line shows."""
_INSTANCES = 4
"""Agent instances of one device whose heartbeats are kept: two are alive at once, and one may be restarting."""


class Store:
    """Everything known."""

    def __init__(self, offline_after: float, rules: UpgradeRules | None = None) -> None:
        """Begin knowing nothing. `offline_after` is in heartbeat intervals."""
        self._offline_after = offline_after
        self._rules = rules or UpgradeRules()
        self.trust_bundle: tuple[str, ...] = ()
        self.changes = Changes()
        """Of whatever is put here: what may have to be decided again."""
        self.devices: ObjectCache[Device] = ObjectCache(self.changes.device)
        self.deployments: ObjectCache[FleetDeployment] = ObjectCache(self._deployment_changed)
        self.unparsed: dict[Kind, ObjectCache[Unparsed]] = {
            "Device": ObjectCache(self.changes.device),
            "FleetDeployment": ObjectCache(self.changes.deployment),
        }
        self.indexes: dict[str, DesiredIndex] = {}
        self.desired: dict[str, dict[str, Desired]] = {}
        self.states: dict[str, dict[str, DeviceState]] = {}
        self.infos: dict[str, DeviceInfo] = {}
        self.refused: dict[str, Refused] = {}
        self.heartbeats: dict[str, ReceivedHeartbeat] = {}
        self.connectivity = Connectivity(self.heartbeats, offline_after, self.changes.device)
        self.identities: dict[str, Identity] = {}
        self._subjects: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self.admitted: dict[str, float] = {}
        """When a device's last quarantine ended, in monotonic seconds."""
        self.dropped: dict[str, frozenset[str]] = {}
        self.agent_heartbeats: dict[str, dict[str, ReceivedHeartbeat]] = {}
        self.duplicates: dict[str, Alternation] = {}
        self.clocks = Clocks()
        self.targets: dict[str, AgentTarget] = {}
        self.grants: dict[str, tuple[int, float]] = {}
        self.leases: dict[str, Holding] = {}
        self.published: dict[AgentVersion, Artifact] = {}
        self.secrets = KnownSecrets(self.deployments, self.changes.deployment)

    def snapshot(self) -> Snapshot:
        """All of it, now. It shares our maps, so it is valid until the next change."""
        return Snapshot(
            now=time.time(),
            clock=time.monotonic(),
            offline_after=self._offline_after,
            devices=self.devices.items,
            deployments=self.deployments.items,
            unparsed_devices=self.unparsed["Device"].items,
            unparsed_deployments=self.unparsed["FleetDeployment"].items,
            indexes=self.indexes,
            desired=self.desired,
            states=self.states,
            infos=self.infos,
            refused=self.refused,
            heartbeats=self.heartbeats,
            identities=self.identities,
            dropped=self.dropped,
            agent_heartbeats=self.agent_heartbeats,
            targets=self.targets,
            grants=self.grants,
            leases=self.leases,
            published=self.published,
            rules=self._rules,
            excused=self.connectivity.excused,
            duplicates=self.duplicates,
            clocks=self.clocks.ahead,
            silent_since=self.connectivity.silent_since,
            trust_bundle=self.trust_bundle,
            secrets=self.secrets.found,
            secrets_doubted=self.secrets.doubts,
        )

    def put_index(self, device: str, index: DesiredIndex | None) -> bool:
        """An index as it is; None when there is none that parses."""
        return self._ordered(device, put(self.indexes, device, index))

    def put_desired(self, device: str, deployment: str, desired: Desired | None) -> bool:
        """An entry as it is; None when there is none that parses."""
        return self._ordered(device, put_nested(self.desired, device, deployment, desired))

    def put_state(self, device: str, deployment: str, state: DeviceState | None) -> bool:
        """A report as it is; only another verdict is news."""
        before = self.states.get(device, {}).get(deployment)
        put_nested(self.states, device, deployment, state)
        if before is None or state is None:
            return self._news(device, before is not state)
        return self._news(device, state_of(before) != state_of(state))

    def put_states(self, device: str, states: dict[str, DeviceState]) -> bool:
        """All that a device reports; only other verdicts are news."""
        before = self.states.get(device, {})
        put(self.states, device, states or None)
        verdicts = {name: state_of(state) for name, state in states.items()}
        return self._news(device, verdicts != {name: state_of(state) for name, state in before.items()})

    def put_info(self, device: str, info: DeviceInfo | None) -> bool:
        """What a device is."""
        return self._news(device, put(self.infos, device, info))

    def refuse_info(self, device: str, info: DeviceInfo, why: str) -> None:
        """Kubernetes does not take what a device said of itself."""
        self.refused[device] = Refused(info, why)
        self.changes.device(device)
        log.warning("what a device says of itself is refused", device=device, why=why[:_SHOWN])

    def put_identity(self, subject: str, identity: Identity | None) -> bool:
        """Store an entry of the registry. A device that is admitted may have sessions again."""
        before = self.identities.get(subject)
        if identity is not None and identity.state is IdentityState.ACTIVE:
            self.session_begun(identity.device)
            if before is not None and before.state is IdentityState.QUARANTINED:
                self.admitted[identity.device] = time.monotonic()
        news = put(self.identities, subject, identity)
        if news:
            self.changes.subjects.add(subject)
            if before is not None:
                self._subjects[before.device].pop(subject, None)
            if identity is not None:
                self._subjects[identity.device][subject] = None
        return news

    def subjects_of(self, device: str) -> tuple[str, ...]:
        """The subjects under which the registry has a device."""
        return tuple(self._subjects.get(device, ()))

    def put_heartbeat(self, device: str, heartbeat: Heartbeat, age: float, revision: int) -> bool:
        """A heartbeat that reached the server `age` seconds ago; news when the device was offline before.

        One that was read before, by its revision, is not taken again: then a step of a clock cannot make it younger.
        """
        before = self.heartbeats.get(device)
        if before is not None and revision and before.revision == revision:
            return False
        clock = time.monotonic()
        at = clock - max(0.0, age)
        if before is not None and before.at > at:
            self.heartbeats[device] = ReceivedHeartbeat(before.heartbeat, before.at, revision)
            return False
        self.heartbeats[device] = ReceivedHeartbeat(heartbeat, at, revision)
        other_agent = self._keep_agent_heartbeat(device, ReceivedHeartbeat(heartbeat, at, revision))
        return self._news(
            device,
            self._duplicates_changed(device, clock)
            or other_agent
            or before is None
            or deadline(before, self._offline_after) <= clock
            # It will be offline sooner than it was to be.
            or deadline(before, self._offline_after) > deadline(self.heartbeats[device], self._offline_after),
        )

    def put_clock(self, device: str, ahead: float) -> bool:
        """By how many seconds a device's clock is ahead of NATS'."""
        return self._news(device, self.clocks.put(device, ahead))

    def _duplicates_changed(self, device: str, clock: float) -> bool:
        """Whether it is news that two devices use one identity, or that they do not any more."""
        known = self.duplicates.get(device)
        if known is None:
            return False
        heard = self.heartbeats[device]
        if clock - known.at > deadline(heard, self._offline_after) - heard.at:
            del self.duplicates[device]
            return True
        return known.times == ALTERNATIONS and known.at == heard.at

    def _keep_agent_heartbeat(self, device: str, heard: ReceivedHeartbeat) -> bool:
        """Keep the last heartbeat of each instance, the newest last; returns whether it was news about one."""
        beats = self.agent_heartbeats.setdefault(device, {})
        before = beats.pop(heard.heartbeat.instance_id, None)
        if alternates(beats, before, heard):
            span = deadline(heard, self._offline_after) - heard.at
            self.duplicates[device] = counted(self.duplicates.get(device), heard.at, span)
        beats[heard.heartbeat.instance_id] = heard
        while len(beats) > _INSTANCES:
            del beats[next(iter(beats))]
        return before is None or agent_of(before.heartbeat) != agent_of(heard.heartbeat)

    def put_target(self, device: str, target: AgentTarget | None) -> bool:
        """What a device is ordered."""
        if target is not None and target.granted:
            generation, since = self.grants.get(device, (0, 0.0))
            self.grants[device] = (target.generation, since if generation == target.generation else time.monotonic())
        return self._news(device, put(self.targets, device, target))

    def put_lease(self, device: str, lease: AgentLease | None) -> bool:
        """Which agent writes; its renewals are no news."""
        before = self.leases.get(device)
        if lease is None:
            return self._news(device, self.leases.pop(device, None) is not None)
        same = before is not None and holder(before.lease) == holder(lease)
        self.leases[device] = Holding(lease, before.since if before and same else time.monotonic())
        return self._news(device, not same)

    def put_published(self, version: AgentVersion, artifact: Artifact | None) -> bool:
        """An agent that devices can fetch."""
        news = put(self.published, version, artifact)
        if news:
            self.changes.versions.add(version)
        return news

    def forget_heartbeat(self, device: str) -> bool:
        """A device's heartbeat was deleted."""
        self.agent_heartbeats.pop(device, None)
        self.duplicates.pop(device, None)
        return self._news(device, self.heartbeats.pop(device, None) is not None)

    def forget_device(self, device: str) -> None:
        """A device's keys were deleted, and whether it has a session is to be seen anew; that alone is no change."""
        self.dropped.pop(device, None)
        reported = (self.indexes, self.desired, self.states, self.infos, self.refused, self.heartbeats)
        others = (
            self.admitted,
            self.agent_heartbeats,
            self.clocks.ahead,
            self.duplicates,
            self.targets,
            self.grants,
            self.leases,
        )
        gone = [known.pop(device, None) is not None for known in (*reported, *others)]
        self._news(device, any(gone))

    def sessions_gone(self, device: str, denied: frozenset[str]) -> bool:
        """A device has no session, after the registry denied `denied`; ignored if it was let in meanwhile."""
        for subject in denied:
            identity = self.identities.get(subject)
            if identity is not None and (identity.device != device or identity.state is IdentityState.ACTIVE):
                return False
        before = self.dropped.get(device)
        self.dropped[device] = denied | (before or frozenset())
        return self._news(device, before != self.dropped[device])

    def session_begun(self, device: str) -> None:
        """A device that may have no session has one: earlier checks are no longer valid."""
        self._news(device, self.dropped.pop(device, None) is not None)

    def barred(self, user: str) -> bool:
        """Whether a NATS user of this name is a device that may have no session."""
        known = self.devices.items.get(user)
        return known is not None and (known.spec.revoked or known.metadata.deletion_timestamp is not None)

    def is_barred(self, user: str) -> bool:
        """Whether a NATS user of this name is barred, or a device in quarantine."""
        device = self.devices.items.get(user)
        if device is None or self.barred(user):
            return device is not None
        known = self.identities.get(device.spec.subject)
        return identity_of(device, known, time.time()).state is IdentityState.QUARANTINED

    def _deployment_changed(self, name: str) -> None:
        self.changes.deployment(name)
        self.secrets.look(name)

    def _ordered(self, device: str, news: bool) -> bool:
        """As `_news`, for the desired state of a device."""
        if news:
            self.changes.order(device)
        return news

    def _news(self, device: str, news: bool) -> bool:
        """If it is new, note that a device must be decided again."""
        if news:
            self.changes.device(device)
        return news
