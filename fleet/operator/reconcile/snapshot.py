"""What a reconcile sees: everything known at one moment, parsed."""

from __future__ import annotations

from collections.abc import Container, Mapping

import msgspec

from fleet.contract.config import UpgradeRules
from fleet.contract.names import AgentVersion
from fleet.contract.objects import FINALIZER, DeploymentStatus, Device, FleetDeployment, Metadata
from fleet.contract.wire import (
    AgentLease,
    AgentTarget,
    Desired,
    DesiredIndex,
    DeviceInfo,
    DeviceState,
    Heartbeat,
    Identity,
)
from fleet.operator.reconcile.secrets import Secrets
from fleet.operator.upgrade.view import Artifact

_SHORTEST_INTERVAL = 0.1
_LONGEST_INTERVAL = 120.0
"""Seconds of the longest interval that is believed: whatever a device says, it is offline after three of these."""


class ReceivedHeartbeat(msgspec.Struct, frozen=True):
    """A heartbeat, and when it reached us: monotonic seconds of this process, never the device's clock."""

    heartbeat: Heartbeat
    at: float
    revision: int = 0


ALTERNATIONS = 2
"""So many make it certain that two devices use one identity: one may be a message that was late."""


class Alternation(msgspec.Struct, frozen=True):
    """How often one boot of a device was heard again after another one, and when last (`ReceivedHeartbeat.at`)."""

    times: int
    at: float


class Holding(msgspec.Struct, frozen=True):
    """A lease, and since when this process has seen it with its holder, in monotonic seconds."""

    lease: AgentLease
    since: float


class Refused(msgspec.Struct, frozen=True):
    """What a device said of itself that Kubernetes does not take, and why."""

    info: DeviceInfo
    why: str


class Unparsed(msgspec.Struct, frozen=True):
    """An object that is there and does not parse, and why. Its `status` is that of a deployment, where it has one."""

    metadata: Metadata
    why: str
    status: DeploymentStatus = DeploymentStatus()


class Snapshot(msgspec.Struct, frozen=True):
    """Everything known. Keys are device ids, deployment names and token subjects; names in the maps are valid.

    `now` is Unix time in seconds, for people; `clock` is monotonic seconds, for decisions. `dropped` holds, for each
    device whose sessions were ended and seen to be gone, the subjects that were denied at that time. `beats` holds the
    last heartbeat of each agent instance of a device. `excused` holds until when, on `clock`, a device's silence says
    nothing of it, because NATS was away from us.
    """

    now: float
    clock: float
    offline_after: float
    devices: Mapping[str, Device]
    deployments: Mapping[str, FleetDeployment]
    indexes: Mapping[str, DesiredIndex]
    desired: Mapping[str, Mapping[str, Desired]]
    states: Mapping[str, Mapping[str, DeviceState]]
    infos: Mapping[str, DeviceInfo]
    heartbeats: Mapping[str, ReceivedHeartbeat]
    identities: Mapping[str, Identity]
    dropped: Mapping[str, frozenset[str]]
    agent_heartbeats: Mapping[str, Mapping[str, ReceivedHeartbeat]] = {}
    targets: Mapping[str, AgentTarget] = {}
    grants: Mapping[str, tuple[int, float]] = {}
    """The attempt that a device was given the upgrade lock for, and since when, on `clock`."""
    leases: Mapping[str, Holding] = {}
    published: Mapping[AgentVersion, Artifact] = {}
    rules: UpgradeRules = UpgradeRules()
    excused: Mapping[str, float] = {}
    unparsed_devices: Mapping[str, Unparsed] = {}
    unparsed_deployments: Mapping[str, Unparsed] = {}
    """Of these, nothing that belongs to one is taken away."""
    duplicates: Mapping[str, Alternation] = {}
    refused: Mapping[str, Refused] = {}
    clocks: Mapping[str, float] = {}
    """Devices whose clock is wrong, and by how many seconds it is ahead."""
    silent_since: float = 0.0
    """When something last arrived from NATS, in Unix seconds, while it is silent; 0 while it is not."""
    trust_bundle: tuple[str, ...] = ()
    """The ids of the certificates that devices are to trust."""
    secrets: Secrets = {}
    secrets_doubted: Container[str] = ()
    """Deployments whose Secrets were not read yet since they were ordered."""

    def is_duplicated(self, device: str) -> bool:
        """Whether two devices beat with this one's identity."""
        known = self.duplicates.get(device)
        return (
            known is not None and known.times >= ALTERNATIONS and self.clock - known.at <= self.duplicate_expiry(device)
        )

    def duplicate_expiry(self, device: str) -> float:
        """How long an alternation counts, in seconds: as long as a device may be silent before it is offline."""
        heard = self.heartbeats[device]
        return deadline(heard, self.offline_after) - heard.at

    def recent(self, device: str) -> bool:
        """Whether the device's last heartbeat is recent enough."""
        heard = self.heartbeats.get(device)
        return heard is not None and deadline(heard, self.offline_after) > self.clock

    def online(self, device: str) -> bool:
        """Whether the device counts as there: its last heartbeat is recent enough, or its silence excused."""
        return self.recent(device) or self.excused.get(device, 0.0) > self.clock


def deadline(heard: ReceivedHeartbeat, offline_after: float, excused: float = 0.0) -> float:
    """When a device counts as offline unless another heartbeat arrives, on the clock of `ReceivedHeartbeat.at`.

    `offline_after` is a number of the device's own heartbeat intervals; before `excused` its silence says nothing.
    """
    interval = min(max(heard.heartbeat.interval, _SHORTEST_INTERVAL), _LONGEST_INTERVAL)
    return max(heard.at + offline_after * interval, excused)


def held(item: Device | FleetDeployment) -> bool:
    """Whether our finalizer is on the object: only then may anything be written for it."""
    return FINALIZER in item.metadata.finalizers


def deleting(item: Device | FleetDeployment) -> bool:
    """Whether its deletion was requested."""
    return item.metadata.deletion_timestamp is not None


def live(item: Device | FleetDeployment) -> bool:
    """Whether the object is ours to carry out."""
    return held(item) and not deleting(item)
