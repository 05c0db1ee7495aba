"""What travels through NATS: frozen, tagged structs, tolerant of unknown fields.

Compatibility rule: fields are only ever added, with defaults; a field or a tag is never renamed or reused. The golden
files in `tests/contract/golden` hold this. Times are Unix seconds of the sender's clock, for people only: decisions
use the NATS server's times or a monotonic clock, for a device's clock may be years off.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, TypeVar

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.names import AgentVersion, DeviceId, Digest, TokenSubject
from fleet.contract.upgrade import UpgradeStatus, VersionsKept


class Restart(Enum):
    """When the engine starts a stopped container again (Docker Engine API, `RestartPolicy.Name`)."""

    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"


PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Protocol(Enum):
    """A published port's transport."""

    TCP = "tcp"
    UDP = "udp"


class Port(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A container port published on the device."""

    host: PortNumber
    container: PortNumber
    protocol: Protocol = Protocol.TCP


class Health(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A command run inside the container; exit code 0 is healthy. Times in seconds."""

    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    interval: Annotated[float, msgspec.Meta(ge=0.1)] = 10
    timeout: Annotated[float, msgspec.Meta(ge=0.1)] = 5
    retries: Annotated[int, msgspec.Meta(ge=1)] = 3
    start_period: Annotated[float, msgspec.Meta(ge=0)] = 0


class Container(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="container"):
    """One container. Two equal values need no replacement, a change of any field does."""

    image: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    ports: tuple[Port, ...] = ()
    restart: Restart = Restart.UNLESS_STOPPED
    health: Health | None = None


Workload = Container
"""What a deployment runs. A second kind becomes a union; agents report an unknown tag as `UnsupportedWorkload`."""


class Desired(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="desired"):
    """`desired-state` `<device>.<deployment>`: run this."""

    generation: int
    workload: Workload


class DesiredIndex(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="index"):
    """`desired-state` `<device>`: which deployments the device runs, and the generation of each.

    A device may not list a bucket's keys, so this tells it what to read. A deployment that is not named here is
    removed from the device.
    """

    deployments: dict[str, int] = {}


class Phase(Enum):
    """Where a deployment stands on one device."""

    PENDING = "Pending"
    RUNNING = "Running"
    UNHEALTHY = "Unhealthy"
    RESTARTING = "Restarting"
    FAILED = "Failed"


class Reason(Enum):
    """Why a phase is what it is: CamelCase, as Kubernetes conditions want it."""

    PULLING = "Pulling"
    STARTING = "Starting"
    STARTED = "Started"
    HEALTHY = "Healthy"
    HEALTH_CHECK_FAILED = "HealthCheckFailed"
    CRASH_LOOP = "CrashLoop"
    EXITED = "Exited"
    COMPLETED = "Completed"
    IMAGE_NOT_FOUND = "ImageNotFound"
    PORT_IN_USE = "PortInUse"
    ENGINE_UNAVAILABLE = "EngineUnavailable"
    ENGINE_ERROR = "EngineError"
    UNSUPPORTED_WORKLOAD = "UnsupportedWorkload"
    INVALID_DESIRED_STATE = "InvalidDesiredState"
    STATE_NOT_SAVED = "StateNotSaved"
    INTERNAL_ERROR = "InternalError"
    """The agent met something that it was not made for; the message names it, and the agent's log has the rest."""
    OTHER = "Other"
    """A reason that only a newer version knows."""

    @classmethod
    def _missing_(cls, value: object) -> Reason | None:
        """Read what a newer agent reports as a reason that we do not know, so that its phase still counts."""
        return cls.OTHER if isinstance(value, str) else None


class DeviceState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="state"):
    """`device-state` `<device>.<deployment>`: what the device made of it."""

    generation: int
    phase: Phase
    reason: Reason
    message: str = ""
    container_id: str = ""
    restarts: int = 0
    at: float = 0


class DeviceInfo(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="info"):
    """`device-info` `<device>`: what the device is. Sizes in bytes."""

    agent_version: AgentVersion
    arch: str
    os: str
    kernel: str
    memory: int
    disk: int
    boot_id: str
    instance_id: str = ""
    engine: str = ""
    upgrade: UpgradeStatus | None = None


class Heartbeat(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="heartbeat"):
    """`device-heartbeat` `<device>`: alive. `interval` is in seconds; `sequence` counts from the agent's start.

    `generation` is the upgrade attempt that the agent is the candidate of, or was committed by; 0 for none.
    """

    agent_version: AgentVersion
    instance_id: str
    boot_id: str
    sequence: int
    interval: float
    generation: int = 0
    at: float = 0


class IdentityState(Enum):
    """Whether a device that proved who it is may come in."""

    ACTIVE = "active"
    REVOKED = "revoked"


class Identity(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="identity"):
    """`identities` `<token subject>`: the registry that the callout reads and the operator writes."""

    device: DeviceId
    state: IdentityState


class AgentTarget(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="target"):
    """`agent-target` `<device>`: the agent version wanted, and how far this attempt may go.

    Written by the operator alone, by compare-and-set. A higher `generation` is another attempt; within one, nothing
    that was said is taken back but `granted`, which expires with a device that does not make use of it.
    """

    version: AgentVersion
    digest: Digest
    generation: int
    stop_instance: str = ""
    """The agent instance that must hand over to the candidate and exit."""
    size: int = 0
    """Of the artefact, in bytes; 0 when it is not known."""
    granted: bool = False
    """Whether the device holds the scheduling lock: it may swap."""
    confirmed: str = ""
    """The agent instance whose version has proven itself."""
    withdrawn: bool = False
    """The version is not wanted any more: stop where that is safe, turn back where it is not."""
    order: int = 0
    """`DeviceSpec.agent_order` that this attempt answers."""
    versions_kept: VersionsKept | None = None
    """`DeviceSpec.agent_versions_kept` as it is now, whatever becomes of the attempt."""


class AgentLease(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="lease"):
    """`agent-lease` `<device>`: which agent instance may write; compare-and-set on the entry's revision.

    An empty `instance_id` is a lease that was released. `expires` is for people; a lease counts as expired when its
    revision has not moved for a while on the watcher's own monotonic clock.
    """

    instance_id: str
    generation: int
    expires: float
    boot_id: str = ""
    """The boot that the holder belongs to: after a reboot it is gone for certain."""


T = TypeVar("T", bound=msgspec.Struct)


def encode(value: msgspec.Struct) -> bytes:
    """Render a wire value as JSON."""
    return msgspec.json.encode(value, enc_hook=_to_builtin)


def decode(data: bytes, kind: type[T]) -> T:
    """Parse a wire value.

    Raises:
        InvalidInput: not JSON, not of this kind, or with a value outside its grammar; the message says where.
    """
    try:
        value = msgspec.json.decode(data, type=kind, dec_hook=_from_builtin)
        # msgspec takes a value without a tag; to us an empty object must not be an empty index.
        if kind.__struct_config__.tag is not None:
            msgspec.json.decode(data, type=_Tagged)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"not a valid {kind.__name__}: {error}", next_step="write it with a fleet of the same or a newer version"
        ) from error
    return value


def from_builtins(value: object, kind: type[T]) -> T:
    """Parse what a JSON library already took apart, such as a Kubernetes object.

    Raises:
        InvalidInput: not of this kind.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_from_builtin)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"not a valid {kind.__name__}: {error}", next_step="correct what the message names"
        ) from error


class _Tagged(msgspec.Struct):
    type: str


_NAMES = (AgentVersion, DeviceId, Digest, TokenSubject)


def _to_builtin(value: object) -> str:
    if isinstance(value, _NAMES):
        return str(value)
    raise NotImplementedError(f"no wire form for {value}")


def _from_builtin(kind: type[object], value: object) -> object:
    if not issubclass(kind, _NAMES):
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return kind(value)
