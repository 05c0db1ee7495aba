"""The Kubernetes objects `Device` and `FleetDeployment`, group `fleet.nationtech.io/v1alpha1`, as typed models."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

import msgspec

from fleet.contract.limits import Count
from fleet.contract.names import DeploymentName, DeviceId
from fleet.contract.upgrade import VersionsKept
from fleet.contract.wire import Container, DeviceInfo

GROUP = "fleet.nationtech.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
DEVICES = "devices"
DEPLOYMENTS = "fleetdeployments"
FINALIZER = f"{GROUP}/cleanup"
"""Held by the operator until a deleted object has left no key in NATS and no session."""
SERVER_CONFIG_MAP = "fleet-server"
"""The ConfigMap that says a fleet server is installed in a namespace; its data is a `ServerInfo`."""

LabelValue = Annotated[str, msgspec.Meta(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")]
"""As Kubernetes has it for labels."""
LabelKey = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
        r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z",
    ),
]
"""A qualified name of Kubernetes: a DNS subdomain and `/`, if any, then up to 63 characters."""
Labels = Annotated[dict[LabelKey, LabelValue], msgspec.Meta(max_length=64)]


class Metadata(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The part of Kubernetes object metadata that we read."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


_LABEL = "(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_WANTED_VERSION = rf"^(v(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){{2}}(-{_LABEL}(\.{_LABEL})*)?)?\Z"
"""A semantic version without build metadata, whose '+' cannot stand in the name of a systemd unit; or nothing."""


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """A status condition in the Kubernetes form (`metav1.Condition`)."""

    type: Annotated[str, msgspec.Meta(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, msgspec.Meta(max_length=1024)]
    message: Annotated[str, msgspec.Meta(max_length=32_768)]
    last_transition_time: Annotated[str, msgspec.Meta(max_length=64)]
    observed_generation: Count = 0


Conditions = Annotated[tuple[Condition, ...], msgspec.Meta(max_length=32)]


class DeviceSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What an admin wants of a device. `subject` is the token subject of its machine user.

    `agent_order` is raised by each order of an agent version, so that one that failed can be ordered again.
    `agent_versions_kept` is how many agents stay on the device, the newest ones, besides those that may be needed;
    without it none is ever removed.
    """

    subject: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[A-Za-z0-9_-]{0,128}\Z")] = ""
    labels: Labels = {}
    revoked: bool = False
    agent_version: Annotated[str, msgspec.Meta(pattern=_WANTED_VERSION, max_length=64)] = ""
    agent_order: Count = 0
    agent_versions_kept: VersionsKept | None = None


class DeviceStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the operator knows of a device; written on transitions, not on every heartbeat."""

    info: DeviceInfo | None = None
    last_heartbeat: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    deployments: Count = 0
    conditions: Conditions = ()


class Device(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A device. Conditions: `Enrolled`, `Online`, `Revoked`, and `Upgraded` once an agent version was ordered."""

    metadata: Metadata
    spec: DeviceSpec = DeviceSpec()
    status: DeviceStatus = DeviceStatus()
    api_version: str = API_VERSION
    kind: str = "Device"

    @property
    def id(self) -> DeviceId:
        """The object's name as a device id."""
        return DeviceId(self.metadata.name)


class Selector(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Devices whose `spec.labels` contain every pair; no pair selects every device."""

    match_labels: Labels = {}


class StrategyType(Enum):
    """How a change reaches the selected devices."""

    ALL_AT_ONCE = "AllAtOnce"
    ROLLING = "Rolling"


class Strategy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`Rolling` changes at most `max_unavailable` devices at a time and waits until each runs the new generation."""

    type: StrategyType = StrategyType.ALL_AT_ONCE
    max_unavailable: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1


class DeploymentSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What runs where, and how a change spreads."""

    workload: Container
    selector: Selector = Selector()
    strategy: Strategy = Strategy()


class DeploymentStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Counts of devices, and conditions `Ready` and `Progressing`."""

    observed_generation: Count = 0
    matched: Count = 0
    updated: Count = 0
    ready: Count = 0
    failed: Count = 0
    conditions: Conditions = ()


class FleetDeployment(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A workload and the devices it belongs on."""

    metadata: Metadata
    spec: DeploymentSpec
    status: DeploymentStatus = DeploymentStatus()
    api_version: str = API_VERSION
    kind: str = "FleetDeployment"

    @property
    def name(self) -> DeploymentName:
        """The object's name as a deployment name."""
        return DeploymentName(self.metadata.name)


class ServerInfo(msgspec.Struct, frozen=True, rename="camel"):
    """What an installed server tells its admins; no secrets. `ca` is PEM: NATS' own, then the issuer's.

    `server_id` was made by the first install, and tells the servers apart that use one identity provider.
    """

    issuer: str
    project_id: str
    cli_client_id: str
    nats_url: str
    ca: str
    version: str
    server_id: str = ""
