"""The events of an agent's upgrade machine: plain data, so that a test can simulate the environment."""

from __future__ import annotations

import msgspec

from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.journal import BadJournal, Journal
from fleet.contract.upgrade import UpgradeReason
from fleet.contract.wire import AgentTarget, Heartbeat


class LockTaken(msgspec.Struct, frozen=True):
    """This process holds the writer's lock; the journal as it was read after that."""

    journal: Journal | BadJournal


class LeaseTaken(msgspec.Struct, frozen=True):
    """This instance holds the lease in NATS."""


class LeaseLost(msgspec.Struct, frozen=True):
    """Another instance holds the lease: it was not renewed in time."""


class LeaseReleased(msgspec.Struct, frozen=True):
    """The lease is given back, or NATS did not answer in time and it will expire."""


class Connected(msgspec.Struct, frozen=True):
    """NATS answers this agent, if only to refuse its login."""


class Disconnected(msgspec.Struct, frozen=True):
    """NATS does not answer this agent."""


class TargetSeen(msgspec.Struct, frozen=True):
    """What `agent-target` says; None when it says nothing. It may be late, and come twice."""

    target: AgentTarget | None


class BeatHeard(msgspec.Struct, frozen=True):
    """A heartbeat of this device; it may be this agent's own, late, or from an earlier boot."""

    beat: Heartbeat


class Workloads(msgspec.Struct, frozen=True):
    """Whether a reconcile is in flight, and whether every desired workload is well.

    Put at every change, and after every `Write`. One failed health check does not make `healthy` false.
    """

    busy: bool
    healthy: bool


class JournalSeen(msgspec.Struct, frozen=True):
    """The launcher or the other agent changed the journal."""

    journal: Journal | BadJournal


class Fetched(msgspec.Struct, frozen=True):
    """Answers `Fetch`."""

    generation: int


class Staged(msgspec.Struct, frozen=True):
    """Answers `StageFiles`: the version is complete on disk, marked as verified."""

    generation: int


class SelfTested(msgspec.Struct, frozen=True):
    """Answers `SelfTest`: the version runs on this device and says its own name."""

    generation: int


class JobFailed(msgspec.Struct, frozen=True):
    """Answers `Fetch`, `StageFiles` and `SelfTest`."""

    generation: int
    reason: UpgradeReason
    message: str = ""


class Recorded(msgspec.Struct, frozen=True):
    """Answers `Record`: the journal is on disk like this, which may be without the change if that was void."""

    journal: Journal


class NotRecorded(msgspec.Struct, frozen=True):
    """Answers `Record`: the journal could not be written, and is as it was."""

    message: str


class LinkPointed(msgspec.Struct, frozen=True):
    """Answers `PointLink`."""


class LinkRefused(msgspec.Struct, frozen=True):
    """Answers `PointLink`: the version is not there, or not as it was verified, or the disk refused."""

    reason: UpgradeReason
    message: str = ""


class UnitStarted(msgspec.Struct, frozen=True):
    """Answers `StartUnit`: the unit is active now; an active one stays as it is."""


class UnitFailed(msgspec.Struct, frozen=True):
    """Answers `StartUnit` and `StopUnit`."""

    message: str


class UnitStopped(msgspec.Struct, frozen=True):
    """Answers `StopUnit`: no process of the unit is left."""


class Passed(msgspec.Struct, frozen=True):
    """The deadline that was armed last has passed."""

    deadline: Deadline


Event = (
    LockTaken
    | LeaseTaken
    | LeaseLost
    | LeaseReleased
    | Connected
    | Disconnected
    | TargetSeen
    | BeatHeard
    | Workloads
    | JournalSeen
    | Fetched
    | Staged
    | SelfTested
    | JobFailed
    | Recorded
    | NotRecorded
    | LinkPointed
    | LinkRefused
    | UnitStarted
    | UnitFailed
    | UnitStopped
    | Passed
)
