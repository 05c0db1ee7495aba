"""What an agent's upgrade machine wants done: plain data; `runner` carries it out.

Each effect names the events that answer it. Effects are carried out one after the other, in order; only the jobs
(`Fetch`, `StageFiles`, `SelfTest`), the lock and the lease go on beside the others. An effect can be carried out twice
with the same result, for a crash may come between an effect and its answer.
"""

from __future__ import annotations

import msgspec

from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.journal import Change, Release
from fleet.contract.upgrade import UpgradeStatus
from fleet.contract.wire import AgentTarget


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


class Retain(msgspec.Struct, frozen=True):
    """Remove versions but the `newest` ones and those that may be needed; no answer. What fails is tried another time.

    It is ordered at rest, and before a job that found no space: never beside a job.
    """

    newest: int


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
    | Retain
    | Record
    | PointLink
    | StartUnit
    | StopUnit
    | StopOthers
    | Arm
    | Exit
)
