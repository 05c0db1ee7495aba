"""What an agent's upgrade machine hears, and what it wants done: plain data, so that a test can play the world.

Each effect names the events that answer it. Effects are carried out one after the other, in order; only the jobs
(`Fetch`, `StageFiles`, `SelfTest`), the lock and the lease go on beside the others. An effect can be carried out twice
with the same result, for a crash may come between an effect and its answer.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from fleet.agent.upgrade.journal import BadJournal, Change, Journal, Release
from fleet.contract.upgrade import UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget, Heartbeat


class Deadline(Enum):
    """What an agent waits for, at most as long as `Limits` says; one deadline runs at a time."""

    DRAIN = "drain"
    """Reconciles in flight end, and workloads are healthy."""
    HEARTBEAT = "heartbeat"
    """The candidate is heard."""
    STOP = "stop"
    """The old agent is ordered to stop."""
    STEP_DOWN = "step-down"
    """The candidate is handed over to; shorter than `STOP`, so that it is the candidate that gives up first."""
    ESCALATE = "escalate"
    """The old agent, ordered to stop, is gone."""
    TAKE = "take"
    """The candidate, alone, gets the lease."""
    CONFIRM = "confirm"
    """The operator confirms the candidate."""
    RETRY = "retry"
    """What could not be done is tried again."""


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """How long each deadline is, in seconds on the device's monotonic clock."""

    drain: float = 60
    heartbeat: float = 60
    stop: float = 180
    step_down: float = 120
    escalate: float = 30
    take: float = 300
    confirm: float = 900
    retry: float = 2

    def of(self, deadline: Deadline) -> float:
        """The seconds of one deadline."""
        return getattr(self, deadline.name.lower())


# Events.


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
    """NATS answers this agent."""


class Disconnected(msgspec.Struct, frozen=True):
    """NATS does not answer this agent."""


class TargetSeen(msgspec.Struct, frozen=True):
    """What `agent-target` says; None when it says nothing. It may be late, and come twice."""

    target: AgentTarget | None


class BeatHeard(msgspec.Struct, frozen=True):
    """A heartbeat of this device; it may be this agent's own, late, or from an earlier boot."""

    beat: Heartbeat


class Workloads(msgspec.Struct, frozen=True):
    """Whether a reconcile is in flight, and whether every workload that is wished is well.

    Told at every change, and after every `Write`. `healthy` is judged patiently: one failed check is no illness.
    """

    busy: bool
    healthy: bool


class JournalSeen(msgspec.Struct, frozen=True):
    """Somebody else, the launcher or the other agent, changed the journal."""

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

# Effects.


class TakeLock(msgspec.Struct, frozen=True):
    """Wait for the writer's lock, for as long as it takes; it is held until the process ends. Answer: `LockTaken`."""


class TakeLease(msgspec.Struct, frozen=True):
    """Try until the lease is ours, then keep renewing it. Answers: `LeaseTaken`, later perhaps `LeaseLost`.

    A `patient` taker (a candidate) takes only a lease that was released or has expired. Another one holds the writer's
    lock, and so knows that a holder of the same boot is dead.
    """

    generation: int
    patient: bool


class ReleaseLease(msgspec.Struct, frozen=True):
    """Give the lease back, if we hold it. Answer: `LeaseReleased`, also after a short time without one of NATS."""


class Write(msgspec.Struct, frozen=True):
    """From now on the agent may, or may not, begin to change containers, and write to NATS more than heartbeats.

    Shutting the door on reports waits, for a short time, until those under way are acknowledged. Answer: `Workloads`.
    """

    engine: bool
    reports: bool


class Report(msgspec.Struct, frozen=True):
    """`DeviceInfo.upgrade` is this now. It is sent while reports may be written, and after every reconnect."""

    status: UpgradeStatus


class Fetch(msgspec.Struct, frozen=True):
    """Download, resuming. Answers: `Fetched`, `JobFailed`. A job replaces the one before."""

    target: AgentTarget


class StageFiles(msgspec.Struct, frozen=True):
    """Verify and lay down the version's folder, the marker last. Answers: `Staged`, `JobFailed`."""

    target: AgentTarget


class SelfTest(msgspec.Struct, frozen=True):
    """Run the staged version's `--self-test`. Answers: `SelfTested`, `JobFailed`."""

    target: AgentTarget


class DropJob(msgspec.Struct, frozen=True):
    """Cancel the job under way; no answer. What was downloaded may stay for another time."""


class Record(msgspec.Struct, frozen=True):
    """Make the change in the journal, durably, under its lock. Answers: `Recorded`, `NotRecorded`."""

    change: Change


class PointLink(msgspec.Struct, frozen=True):
    """Swap the link, durably. Answers: `LinkPointed`, `LinkRefused`."""

    release: Release


class StartUnit(msgspec.Struct, frozen=True):
    """Start a version's unit, and leave an active one as it is. Answers: `UnitStarted`, `UnitFailed`.

    `afresh`: what runs in it is on its way out, so it is ended first (`systemctl restart`).
    """

    release: Release
    afresh: bool = False


class StopUnit(msgspec.Struct, frozen=True):
    """Stop a version's unit, by force at the end. Answers: `UnitStopped`, `UnitFailed`."""

    release: Release


class StopOthers(msgspec.Struct, frozen=True):
    """Stop the units of all versions but this one; no answer."""

    keep: Release


class Arm(msgspec.Struct, frozen=True):
    """Start this deadline anew, instead of the one that runs; None for none. Answer: `Passed`."""

    deadline: Deadline | None


class Exit(msgspec.Struct, frozen=True):
    """End the process with `EXIT_DONE`; another version runs. Nothing follows."""


Effect = (
    TakeLock
    | TakeLease
    | ReleaseLease
    | Write
    | Report
    | Fetch
    | StageFiles
    | SelfTest
    | DropJob
    | Record
    | PointLink
    | StartUnit
    | StopUnit
    | StopOthers
    | Arm
    | Exit
)
