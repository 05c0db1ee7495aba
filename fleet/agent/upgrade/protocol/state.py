"""Where one agent process stands in an upgrade."""

from __future__ import annotations

from enum import Enum

import msgspec

from fleet.agent.upgrade.protocol.journal import BadJournal, Journal, Release
from fleet.contract.upgrade import UpgradeReason
from fleet.contract.wire import AgentTarget


class Phase(Enum):
    """What an agent process is doing. Times of one attempt: first the committed agent's, then the candidate's."""

    STANDBY = "standby"
    """It waits for the writer's lock; it writes nothing."""
    SERVING = "serving"
    """It is committed and the writer; no attempt is under way."""
    DISABLED = "disabled"
    """It is the writer, and its journal cannot be used: it serves, and upgrades nothing."""
    FINISHING = "finishing"
    """It writes down how an attempt ended that came to no candidate."""
    DOWNLOADING = "downloading"
    STAGING = "staging"
    TESTING = "testing"
    WAITING = "waiting"
    """It waits for the scheduling lock."""
    QUIESCING = "quiescing"
    """It begins no reconcile, and waits for those in flight and for healthy workloads."""
    PROPOSING = "proposing"
    LINKING = "linking"
    STARTING = "starting"
    """It starts the candidate, and waits for its heartbeat."""
    WATCHING = "watching"
    """Both are alive; it waits for the order to stop."""
    DRAINING = "draining"
    """It was ordered to stop, and lets its reconciles end."""
    YIELDING = "yielding"
    """It writes down that the candidate takes over, unless that gave up first."""
    PASSING = "passing"
    """It makes sure once more that the candidate's unit runs."""
    RECALLING = "recalling"
    """It takes the trial back, unless the candidate took over first."""

    JOINING = "joining"
    """The candidate is alive, says so, and writes nothing."""
    STEPPING_DOWN = "stepping down"
    """The candidate writes down that it gives up, unless it was handed over first."""
    AWAITING = "awaiting"
    """The old agent was ordered to stop; the candidate waits for its lock."""
    CLAIMING = "claiming"
    """The candidate writes down that it takes over, unless it was recalled first."""
    OUSTING = "ousting"
    """The old agent did not go, so its unit is stopped."""
    TAKING = "taking"
    """The candidate holds the lock and tries to get the lease."""
    SOAKING = "soaking"
    """The candidate is the writer, on trial."""
    COMMITTING = "committing"
    REJECTING = "rejecting"
    """The candidate writes down that it has failed."""
    RETURNING = "returning"
    """The candidate starts the committed agent again."""

    LEAVING = "leaving"
    """It gives back the lease."""
    GONE = "gone"


class AgentProcess(msgspec.Struct, frozen=True):
    """The identity of one agent process; `instance` is new at every start, `boot_id` the kernel's."""

    release: Release
    instance: str
    boot_id: str


class State(msgspec.Struct, frozen=True):
    """All that a process knows of the upgrade.

    `target` is the newest order seen, `order` the one that is being prepared; past the swap, the journal's candidate
    is the attempt. `shrunk` says whether versions that are not needed were removed in it, for want of space; `heard`
    whether the candidate was heard, and with the right version. `reason` and `message` are why the attempt is being
    ended.
    """

    process: AgentProcess
    phase: Phase
    journal: Journal | BadJournal
    target: AgentTarget | None = None
    order: AgentTarget | None = None
    locked: bool = False
    leased: bool = False
    connected: bool = False
    busy: bool = True
    healthy: bool = True
    shrunk: bool = False
    heard: bool | None = None
    reason: UpgradeReason = UpgradeReason.IN_PROGRESS
    message: str = ""
