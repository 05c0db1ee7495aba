"""The Kubernetes objects `Device` and `FleetDeployment`, group `fleet.nationtech.io/v1alpha1`, as typed models."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

import msgspec

from fleet.contract.limits import MAX_IMAGES, MAX_POD_CONTAINERS, MAX_WORKLOADS_SHOWN, Count, Id, Word
from fleet.contract.names import DeploymentName, DeviceId
from fleet.contract.pod import Pod
from fleet.contract.selector import Labels, Selector
from fleet.contract.upgrade import VersionsKept
from fleet.contract.volumes import VolumeOrders
from fleet.contract.wire import WELL, Container, DeviceInfo, Phase

GROUP = "fleet.nationtech.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
DEVICES = "devices"
DEPLOYMENTS = "fleetdeployments"
Kind = Literal["Device", "FleetDeployment"]
"""What an admin writes."""
FINALIZER = f"{GROUP}/cleanup"
"""Held by the operator until a deleted object has left no key in NATS and no session."""
ENROLLED_AT = f"{GROUP}/enrolled-at"
"""The annotation of a `Device` that says when it was enrolled last (RFC 3339)."""
WEB_ACCOUNT = "fleet-web"
"""The ServiceAccount that the web page reads Kubernetes as."""
SERVER_CONFIG_MAP = "fleet-server"
"""The ConfigMap that says a fleet server is installed in a namespace; its data is a `ServerInfo`."""


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

    `labels` are those of former releases; what they say goes into the metadata, where labels are (decision 037).

    `agent_order` is raised by each order of an agent version, so that one that failed can be ordered again.
    `agent_versions_kept` is how many agents stay on the device, the newest ones, besides those that may be needed;
    without it none is ever removed. `released` is raised by each `fleet device release`, which ends a quarantine that
    began before. `enrollment` is raised by each enrollment with `--replace`, which alone may change the subject.
    To a `cordoned` device no change of a deployment is sent; what it runs, it goes on running. Tokens that the issuer
    gave until `tokens_after` (its Unix seconds) let in no more: each rotation of the machine key writes it.
    `remove_volumes` are orders that the device has not answered yet; the operator takes out those that it has.
    """

    subject: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[A-Za-z0-9_-]{0,128}\Z")] = ""
    labels: Labels = {}
    revoked: bool = False
    agent_version: Annotated[str, msgspec.Meta(pattern=_WANTED_VERSION, max_length=64)] = ""
    agent_order: Count = 0
    agent_versions_kept: VersionsKept | None = None
    released: Count = 0
    enrollment: Count = 0
    cordoned: bool = False
    tokens_after: Count = 0
    remove_volumes: VolumeOrders = ()


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What a device said last of one container of a pod. Words of newer agents are taken as they are."""

    name: Word
    phase: Word
    reason: Word


class WorkloadStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The last report of a device about a deployment that it is to run.

    `image` is a digest by which registries know what runs, else the image's id; `since` is when this generation came to
    this phase and reason, as the operator heard it. `containers` are those of a pod, where there is room for them.
    Words of newer agents are taken as they are.
    """

    name: Word
    generation: Count
    phase: Word
    reason: Word
    message: Annotated[str, msgspec.Meta(max_length=256)] = ""
    image: Id = ""
    since: Annotated[str, msgspec.Meta(max_length=64)] = ""
    containers: Annotated[tuple[ContainerStatus, ...], msgspec.Meta(max_length=2 * MAX_POD_CONTAINERS)] = ()

    @property
    def runs(self) -> bool:
        """Whether it runs as it should, whatever else there is to say of it."""
        return self.phase == Phase.RUNNING.value

    @property
    def waits(self) -> bool:
        """Whether it is on its way."""
        return self.phase == Phase.PENDING.value

    @property
    def troubled(self) -> bool:
        """Whether somebody should know of it."""
        return not self.waits and not (self.runs and self.reason in WELL)


class DeviceStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the operator knows of a device; written on transitions, not on every heartbeat."""

    info: DeviceInfo | None = None
    last_heartbeat: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    deployments: Count = 0
    workloads: Annotated[tuple[WorkloadStatus, ...], msgspec.Meta(max_length=MAX_WORKLOADS_SHOWN)] = ()
    conditions: Conditions = ()


class Device(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A device. Conditions: `Enrolled`, `Online`, `Revoked`, and `Upgraded` once an agent version was ordered.

    `Quarantined` is there once the device flooded; `Cordoned`, `WorkloadTrouble`, `DuplicateIdentity`, `ClockDiffers`,
    `BundleOutdated`, `VolumesOrdered` and `InfoAccepted` while there is cause.
    """

    metadata: Metadata
    spec: DeviceSpec = DeviceSpec()
    status: DeviceStatus = DeviceStatus()
    api_version: str = API_VERSION
    kind: str = "Device"

    @property
    def id(self) -> DeviceId:
        """The object's name as a device id."""
        return DeviceId(self.metadata.name)


class StrategyType(Enum):
    """How a change reaches the selected devices."""

    ALL_AT_ONCE = "AllAtOnce"
    ROLLING = "Rolling"


class Strategy(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`Rolling` changes at most `max_unavailable` devices at a time and waits until each runs the new generation."""

    type: StrategyType = StrategyType.ALL_AT_ONCE
    max_unavailable: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1

    def __str__(self) -> str:
        rolling = f", at most {self.max_unavailable} unavailable" if self.type is StrategyType.ROLLING else ""
        return f"{self.type.value}{rolling}"


class DeploymentSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What runs where, and how a change spreads. Of a `paused` one no change is sent to any device."""

    workload: Container | Pod
    selector: Selector = Selector()
    strategy: Strategy = Strategy()
    paused: bool = False


class RunningImage(msgspec.Struct, frozen=True, rename="camel"):
    """How many devices run an image; see `WorkloadStatus`."""

    image: Id
    devices: Count


class DeploymentStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Counts of devices, and conditions `Ready` and `Progressing`. `images` are the most frequent ones that run.

    `workload_images` are those of the observed generation's workload, for the column of `kubectl get`.
    """

    observed_generation: Count = 0
    matched: Count = 0
    updated: Count = 0
    ready: Count = 0
    failed: Count = 0
    images: Annotated[tuple[RunningImage, ...], msgspec.Meta(max_length=MAX_IMAGES)] = ()
    workload_images: Annotated[str, msgspec.Meta(max_length=2048)] = ""
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

    `server_id` was made by the first install, and tells the servers apart that use one identity provider. `web` is
    whether there is a web page; without a `web_url` it is reached by port-forward.
    """

    issuer: str
    project_id: str
    cli_client_id: str
    nats_url: str
    ca: str
    version: str
    server_id: str = ""
    web: bool = False
    web_url: str = ""
