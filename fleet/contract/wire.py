"""What travels through NATS: frozen, tagged structs, tolerant of unknown fields.

Compatibility rule: fields are only ever added, with defaults; a field or a tag is never renamed or reused. The golden
files in `tests/contract/golden` hold this. Times are Unix seconds of the sender's clock, for people only: decisions
use the NATS server's times or a monotonic clock, for a device's clock may be years off.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, TypeVar

import msgspec

from fleet.contract.disk import DiskUsage
from fleet.contract.errors import InvalidInput
from fleet.contract.grammar import validation_words
from fleet.contract.limits import (
    MAX_DEPLOYMENTS,
    MAX_POD_CONTAINERS,
    MAX_REPORT,
    CertificateIds,
    ChangeId,
    Count,
    Id,
    ImageIds,
    IndexKey,
    Interval,
    Message,
    UnixTime,
    Word,
    fit,
)
from fleet.contract.machine_keys import PublicKey
from fleet.contract.names import AgentVersion, DeviceId, Digest, TokenSubject
from fleet.contract.parsing import NOT_JSON, any_json
from fleet.contract.phases import WELL as WELL
from fleet.contract.phases import ContainerState as ContainerState
from fleet.contract.phases import Phase as Phase
from fleet.contract.phases import Reason as Reason
from fleet.contract.pod import Workload as Workload
from fleet.contract.release_keys import HeldKeys
from fleet.contract.sealed import Sealed, SealingKey
from fleet.contract.upgrade import UpgradeStatus, VersionsKept
from fleet.contract.volumes import VolumeOrders, VolumeOutcomes
from fleet.contract.workload import Container as Container
from fleet.contract.workload import Container2 as Container2
from fleet.contract.workload import Health as Health
from fleet.contract.workload import Port as Port
from fleet.contract.workload import Protocol as Protocol
from fleet.contract.workload import Restart as Restart

Edition = tuple[int, str]
"""A generation, and the version of the secrets (`Sealed.version`); that is empty where there are none."""


class Desired(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="desired"):
    """`desired-state` `<device>.<deployment>`: run this. `change` is for logs; see `fleet.contract.change`."""

    generation: Count
    workload: Workload
    change: ChangeId = ""
    sealed: Sealed | None = None
    """The secrets that the workload takes."""

    @property
    def edition(self) -> Edition:
        """What a device that runs it runs: a changed Secret is another edition of the same generation."""
        return self.generation, self.sealed.version if self.sealed else ""

    def is_told_by(self, state: DeviceState) -> bool:
        """Whether a report is about this. A device that could not read the desired state does not know its secrets."""
        unread = state.phase is Phase.FAILED and not state.secrets
        return state.generation == self.generation and (unread or state.secrets == self.edition[1])


class DesiredIndex(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="index"):
    """`desired-state` `<device>`: which deployments the device runs, and the generation of each.

    A device may not list a bucket's keys, so this tells it what to read. A deployment that is not named here is
    removed from the device. `remove_volumes` are orders of an admin; agents of former releases pass over them.
    """

    deployments: Annotated[dict[IndexKey, Count], msgspec.Meta(max_length=MAX_DEPLOYMENTS)] = {}
    remove_volumes: VolumeOrders = ()


class DeviceState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="state"):
    """What the device made of one deployment: an entry of `states.DeviceStates`.

    Agents up to two releases behind send it to `device-state` `<device>.<deployment>` (decision 029).
    """

    generation: Count
    phase: Phase
    reason: Reason
    message: Message = ""
    container_id: Id = ""
    restarts: Count = 0
    at: UnixTime = 0
    image_id: Id = ""
    """Its container's image: `sha256:` and its configuration's digest. Engines agree on it, architectures do not."""
    image_digests: ImageIds = ()
    """Digests by which registries know that image; none of one that was put on the device by hand."""
    secrets: Id = ""
    """The version of the secrets (`Sealed.version`) that this is about."""
    containers: Annotated[tuple[ContainerState, ...], msgspec.Meta(max_length=2 * MAX_POD_CONTAINERS)] = ()
    """Those of a pod, in the order in which they start; none of a container that stands alone."""


class DeviceInfo(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="info"):
    """`device-info` `<device>`: what the device is. Sizes in bytes; `trusts` are the ids of certificates.

    `key_id` is the machine key on its disk; `offered_key` the public half of one that it would use in its place.
    The device alone opens what is sealed for `sealing_key`. By the `KeyOrder` of `tokens_after` it renewed its token.
    `volume_outcomes` are those of orders that this process carried out. Former releases report no `release_keys`.
    """

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
    disk_usage: DiskUsage | None = None
    trusts: CertificateIds = ()
    key_id: Id = ""
    offered_key: PublicKey = ""
    sealing_key: SealingKey = ""
    tokens_after: Count | None = None
    volume_outcomes: VolumeOutcomes = ()
    release_keys: HeldKeys | None = None


class Heartbeat(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="heartbeat"):
    """`device-heartbeat` `<device>`: alive. `interval` is in seconds; `sequence` counts from the agent's start.

    `generation` is the upgrade attempt that the agent is the candidate of, or was committed by; 0 for none. `key_id` is
    the machine key by which this session came in.
    """

    agent_version: AgentVersion
    instance_id: Id
    boot_id: Id
    sequence: Count
    interval: Interval
    generation: Count = 0
    at: UnixTime = 0
    key_id: Id = ""


class IdentityState(Enum):
    """Whether a device that proved who it is may come in."""

    ACTIVE = "active"
    REVOKED = "revoked"
    QUARANTINED = "quarantined"
    """It harmed the server: it stays out for a while, or until an admin releases it."""


class Quarantine(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Why and how long a device is kept out, or was. Times are Unix seconds of the operator's clock.

    `times` is how often it was within a day, with this one. Without `until` only an admin ends it.
    """

    began: UnixTime
    times: Count
    why: Message
    until: UnixTime = 0
    released: Count = 0
    """`DeviceSpec.released` when it began: a higher one ends it."""


class Identity(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="identity"):
    """`identities` `<token subject>`: the registry that the callout reads and the operator writes.

    An active identity keeps its last `quarantine` for a day. Tokens given until `tokens_after` are refused.
    """

    device: DeviceId
    state: IdentityState
    quarantine: Quarantine | None = None
    tokens_after: Count = 0

    def admitted(self, now: float) -> bool:
        """Whether the device may come in at the Unix time `now`."""
        if self.state is not IdentityState.QUARANTINED:
            return self.state is IdentityState.ACTIVE
        return self.quarantine is not None and 0 < self.quarantine.until <= now


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
    expired: bool = False
    """It is `withdrawn` because it held the scheduling lock too long: it counts as failed, and is not ordered again."""


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
_SEE = "see what writes as this device"


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
    except NOT_JSON as error:
        what = f"not a valid {kind.__name__}: {validation_words(error)}"
        raise InvalidInput(what, next_step="write it with a fleet of the same or a newer version") from error
    return value


def decode_report(data: bytes, kind: type[T]) -> T:
    """Parse what a device reports: a text that is too long is cut, and the rest of the report counts.

    Raises:
        InvalidInput: as `decode`, or the whole is larger than `MAX_REPORT` bytes.
    """
    if len(data) > MAX_REPORT:
        raise InvalidInput(f"not a valid {kind.__name__}: {len(data)} bytes, more than {MAX_REPORT}", next_step=_SEE)
    try:
        return decode(data, kind)
    except InvalidInput as error:
        refused = error
    try:
        return decode(msgspec.json.encode(fit(any_json(data), kind)), kind)
    except InvalidInput as error:
        refused = error
    except NOT_JSON:
        pass
    raise InvalidInput(refused.what, next_step=_SEE)


def from_builtins(value: object, kind: type[T]) -> T:
    """Parse what a JSON library already took apart, such as a Kubernetes object.

    Raises:
        InvalidInput: not of this kind.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_from_builtin)
    except NOT_JSON as error:
        what = f"not a valid {kind.__name__}: {validation_words(error)}"
        raise InvalidInput(what, next_step="correct what the message names") from error


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
        raise TypeError("Expected a text")
    try:
        return kind(value)
    except InvalidInput as error:  # msgspec takes all of its text, and adds where
        raise ValueError(f"{error.what}: {error.next_step}") from error
