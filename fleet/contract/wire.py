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
from fleet.contract.limits import (
    MAX_DEPLOYMENTS,
    MAX_REPORT,
    Count,
    Id,
    IndexKey,
    Interval,
    Message,
    UnixTime,
    Word,
    fit,
)
from fleet.contract.names import AgentVersion, DeviceId, Digest, TokenSubject
from fleet.contract.upgrade import UpgradeStatus, VersionsKept
from fleet.contract.workload import Container as Container
from fleet.contract.workload import Health as Health
from fleet.contract.workload import Port as Port
from fleet.contract.workload import Protocol as Protocol
from fleet.contract.workload import Restart as Restart
from fleet.contract.workload import Workload as Workload


class Desired(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="desired"):
    """`desired-state` `<device>.<deployment>`: run this."""

    generation: Count
    workload: Workload


class DesiredIndex(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="index"):
    """`desired-state` `<device>`: which deployments the device runs, and the generation of each.

    A device may not list a bucket's keys, so this tells it what to read. A deployment that is not named here is
    removed from the device.
    """

    deployments: Annotated[dict[IndexKey, Count], msgspec.Meta(max_length=MAX_DEPLOYMENTS)] = {}


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

    generation: Count
    phase: Phase
    reason: Reason
    message: Message = ""
    container_id: Id = ""
    restarts: Count = 0
    at: UnixTime = 0


class DeviceInfo(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="info"):
    """`device-info` `<device>`: what the device is. Sizes in bytes."""

    agent_version: AgentVersion
    arch: Word
    os: Word
    kernel: Word
    memory: Count
    disk: Count
    boot_id: Id
    instance_id: Id = ""
    engine: Word = ""
    upgrade: UpgradeStatus | None = None


class Heartbeat(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="heartbeat"):
    """`device-heartbeat` `<device>`: alive. `interval` is in seconds; `sequence` counts from the agent's start.

    `generation` is the upgrade attempt that the agent is the candidate of, or was committed by; 0 for none.
    """

    agent_version: AgentVersion
    instance_id: Id
    boot_id: Id
    sequence: Count
    interval: Interval
    generation: Count = 0
    at: UnixTime = 0


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
    generation: Count
    stop_instance: Id = ""
    """The agent instance that must hand over to the candidate and exit."""
    size: Count = 0
    """Of the artefact, in bytes; 0 when it is not known."""
    granted: bool = False
    """Whether the device holds the scheduling lock: it may swap."""
    confirmed: Id = ""
    """The agent instance whose version has proven itself."""
    withdrawn: bool = False
    """The version is not wanted any more: stop where that is safe, turn back where it is not."""
    order: Count = 0
    """`DeviceSpec.agent_order` that this attempt answers."""
    versions_kept: VersionsKept | None = None
    """`DeviceSpec.agent_versions_kept` as it is now, whatever becomes of the attempt."""


class AgentLease(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="lease"):
    """`agent-lease` `<device>`: which agent instance may write; compare-and-set on the entry's revision.

    An empty `instance_id` is a lease that was released. `expires` is for people; a lease counts as expired when its
    revision has not moved for a while on the watcher's own monotonic clock.
    """

    instance_id: Id
    generation: Count
    expires: UnixTime
    boot_id: Id = ""
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
    except _NO_VALUE as error:
        raise InvalidInput(
            f"not a valid {kind.__name__}: {error}",
            next_step="write it with a fleet of the same or a newer version",
        ) from error
    return value


def decode_report(data: bytes, kind: type[T]) -> T:
    """Parse what a device reports: a text that is too long is cut, and the rest of the report counts.

    Raises:
        InvalidInput: as `decode`, or the whole is larger than `MAX_REPORT` bytes.
    """
    if len(data) > MAX_REPORT:
        raise InvalidInput(
            f"not a valid {kind.__name__}: {len(data)} bytes, more than {MAX_REPORT}",
            next_step="see what writes as this device",
        )
    try:
        return decode(data, kind)
    except InvalidInput:
        try:
            shortened = fit(msgspec.json.decode(data), kind)
            return decode(msgspec.json.encode(shortened), kind)
        except _NO_VALUE as error:
            raise InvalidInput(
                f"not a valid {kind.__name__}: {error}", next_step="see what writes as this device"
            ) from error


_NO_VALUE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
"""What msgspec raises for bytes that hold no value; `ValueError` for an integer of over 4,300 digits."""


def from_builtins(value: object, kind: type[T]) -> T:
    """Parse what a JSON library already took apart, such as a Kubernetes object.

    Raises:
        InvalidInput: not of this kind.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_from_builtin)
    except _NO_VALUE as error:
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
