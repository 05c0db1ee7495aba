"""The words of an agent's upgrade: phases, reasons, what a device reports, and the signed manifest of an agent.

An *attempt* is one try to bring a device to a version; its `generation` counts the attempts of the device, and the
operator gives it out. `docs/upgrade.md` tells the protocol on one page.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from fleet.contract.limits import LARGEST, Count, Id, Message, UnixTime, Word
from fleet.contract.names import AgentVersion, Digest

MAX_ARTIFACT = 64 * 1024 * 1024
"""Bytes of the largest agent that a device takes."""
CHUNK = 128 * 1024
"""Bytes of each chunk of an artefact but the last: far below NATS' `max_payload`, so a slow line loses little."""
MAX_MANIFEST = 256 * 1024
"""Bytes of the largest manifest: the digests of `MAX_ARTIFACT / CHUNK` chunks, with room to spare."""
MAX_ATTEMPTS = 3
"""Starts that an unproven agent is given before the launcher turns back (as Greengrass's loader does)."""
EXIT_DONE = 86
"""The exit status of an agent, or a launcher, whose unit is not to be started again: another version runs instead."""
STATE_SCHEMA = 1
"""The form in which this agent keeps its journal and its last desired state; a newer one is refused."""
EXIT_STATE_TOO_NEW = 87
"""The exit status of a self-test that finds a newer form on disk."""

VersionsKept = Annotated[int, msgspec.Meta(ge=1, le=1000)]
"""How many of a device's agents are kept, the newest ones; those that may be needed are kept besides."""


class UpgradePhase(Enum):
    """Where an attempt stands. The last three are terminal."""

    DOWNLOADING = "Downloading"
    STAGED = "Staged"
    """On disk, verified, marked; its self-test is under way."""
    SELF_TESTED = "SelfTested"
    """It waits for the scheduling lock, for reconciles in flight and for healthy workloads."""
    SWAPPED = "Swapped"
    """The journal names the candidate; the link is being moved."""
    STARTING = "Starting"
    """Both agents run; the old one is the writer until it is ordered to stop."""
    HANDING_OVER = "HandingOver"
    SOAKING = "Soaking"
    """The candidate is the writer, and not confirmed yet."""
    REVERTING = "Reverting"
    COMMITTED = "Committed"
    REVERTED = "Reverted"
    REFUSED = "Refused"

    @property
    def terminal(self) -> bool:
        """Whether the attempt is over."""
        return self in _TERMINAL


_TERMINAL = frozenset({UpgradePhase.COMMITTED, UpgradePhase.REVERTED, UpgradePhase.REFUSED})


class UpgradeReason(Enum):
    """Why a phase is what it is: CamelCase, as Kubernetes conditions want it."""

    # On the way.
    IN_PROGRESS = "InProgress"
    WAITING_FOR_LOCK = "WaitingForLock"
    WAITING_FOR_RECONCILES = "WaitingForReconciles"
    WAITING_FOR_HEALTH = "WaitingForHealth"
    CONTROL_PLANE_UNREACHABLE = "ControlPlaneUnreachable"
    """NATS answers neither agent: that is no fault of the candidate, so the attempt holds."""

    # Done.
    CONFIRMED = "Confirmed"
    ALREADY_RUNNING = "AlreadyRunning"

    # The order cannot be carried out.
    SUPERSEDED = "Superseded"
    WITHDRAWN = "Withdrawn"
    NOT_UPGRADABLE = "NotUpgradable"
    """The device has no place for versions side by side."""
    JOURNAL_UNREADABLE = "JournalUnreadable"
    JOURNAL_NOT_SAVED = "JournalNotSaved"
    UNKNOWN_VERSION = "UnknownVersion"
    VERSION_TOO_OLD = "VersionTooOld"
    DIGEST_CONFLICT = "DigestConflict"
    """The same version with another digest."""
    BAD_VERSION = "BadVersion"
    """It failed on this device before."""
    LINK_MISSING = "LinkMissing"
    STATE_TOO_NEW = "StateTooNew"
    """What is on disk was written by a newer agent, and this one would not understand it."""

    # The artefact was not taken.
    MANIFEST_MISSING = "ManifestMissing"
    MANIFEST_INVALID = "ManifestInvalid"
    SIGNATURE_MISSING = "SignatureMissing"
    SIGNATURE_INVALID = "SignatureInvalid"
    KEY_UNKNOWN = "KeyUnknown"
    KEY_REVOKED = "KeyRevoked"
    ARTIFACT_EXPIRED = "ArtifactExpired"
    ARTIFACT_MISSING = "ArtifactMissing"
    ARTIFACT_TOO_LARGE = "ArtifactTooLarge"
    ARTIFACT_CORRUPT = "ArtifactCorrupt"
    WRONG_ARCHITECTURE = "WrongArchitecture"
    PYTHON_TOO_OLD = "PythonTooOld"
    NO_SPACE = "NoSpace"
    READ_ONLY = "ReadOnly"
    DISK_ERROR = "DiskError"

    # It did not pass its examination.
    NOT_EXECUTABLE = "NotExecutable"
    SELF_TEST_FAILED = "SelfTestFailed"
    SELF_TEST_TIMED_OUT = "SelfTestTimedOut"
    SELF_TEST_WRONG_VERSION = "SelfTestWrongVersion"
    RECONCILE_TIMED_OUT = "ReconcileTimedOut"
    WORKLOAD_UNHEALTHY = "WorkloadUnhealthy"

    # It ran, and did not prove itself.
    CANDIDATE_NOT_STARTED = "CandidateNotStarted"
    CANDIDATE_CRASHED = "CandidateCrashed"
    CANDIDATE_DAMAGED = "CandidateDamaged"
    CANDIDATE_NOT_CONNECTED = "CandidateNotConnected"
    CANDIDATE_WRONG_VERSION = "CandidateWrongVersion"
    STOP_NOT_ORDERED = "StopNotOrdered"
    NOT_CONFIRMED = "NotConfirmed"
    DEGRADED = "Degraded"
    COMMITTED_DAMAGED = "CommittedDamaged"

    OTHER = "Other"
    """A reason that a newer agent has and this reader does not know; the message tells it."""

    @classmethod
    def _missing_(cls, value: object) -> UpgradeReason | None:
        return cls.OTHER if isinstance(value, str) else None

    @property
    def condemns(self) -> bool:
        """Whether it speaks against the artefact itself: such a version is remembered and not tried again."""
        return self in _CONDEMNING


_CONDEMNING = frozenset(
    {
        UpgradeReason.SELF_TEST_FAILED,
        UpgradeReason.SELF_TEST_TIMED_OUT,
        UpgradeReason.SELF_TEST_WRONG_VERSION,
        UpgradeReason.CANDIDATE_CRASHED,
        UpgradeReason.CANDIDATE_NOT_CONNECTED,
        UpgradeReason.CANDIDATE_WRONG_VERSION,
    }
)


class UpgradeStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the writing agent reports of the latest attempt. `at` is Unix seconds of the device, for people only."""

    generation: Count
    phase: UpgradePhase
    reason: UpgradeReason
    message: Message = ""
    running: AgentVersion | None = None
    committed: AgentVersion | None = None
    candidate: AgentVersion | None = None
    previous: AgentVersion | None = None
    """The rollback target."""
    at: UnixTime = 0


class Manifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="manifest"):
    """What an agent's artefact is. Sizes in bytes; `not_after` is Unix seconds, 0 for never.

    `chunks` are the digests of the artefact's `CHUNK`-sized pieces in order, so that a download resumes and a bad piece
    is found at once. No `architectures` means any.
    """

    version: AgentVersion
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
    chunks: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=4096)]
    minimum_python: Word = "3.11"
    architectures: Annotated[tuple[Word, ...], msgspec.Meta(max_length=64)] = ()
    not_after: UnixTime = 0
    state_schema: Count = 1
    """The newest form of its own state on disk that this agent understands."""


class SignedManifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="signed-manifest"):
    """A manifest as it travels and as it lies on disk.

    `payload` is the very JSON text that was signed, so nothing has to be rendered again to check it; `signature` is the
    Ed25519 signature (RFC 8032) of its UTF-8 bytes by the key `key_id`, in base64.
    """

    payload: Annotated[str, msgspec.Meta(max_length=MAX_MANIFEST)]
    key_id: Id
    signature: Id


class TrustedKey(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A public release key, base64 of its 32 bytes. A revoked one stays listed, so that the refusal can say so.

    `not_after` is Unix seconds, 0 for never: nothing that the key has signed is taken later.
    """

    id: Id
    key: Id
    revoked: bool = False
    not_after: UnixTime = 0


class TrustedKeys(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="trusted-keys"):
    """`<root>/etc/fleet/trusted-keys.json`. Several are valid at once, so that one can follow another.

    `minimum_version` is the oldest agent that the device takes: one with a known hole stays out, however well signed.
    `number` counts the lists that were signed one after the other; a list of a first set-up has none.
    """

    keys: Annotated[tuple[TrustedKey, ...], msgspec.Meta(max_length=256)]
    minimum_version: AgentVersion | None = None
    number: Count = 0
