"""What an agent waits for in an upgrade, and for how long."""

from __future__ import annotations

from enum import Enum

from fleet.contract.config import UpgradeLimits


class Deadline(Enum):
    """What an agent waits for, at most as long as `UpgradeLimits` says; one deadline runs at a time."""

    DRAIN = "drain"
    """Reconciles in flight end, and workloads are healthy."""
    HEARTBEAT = "heartbeat"
    """The candidate's heartbeat arrives."""
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


def limit_of(limits: UpgradeLimits, deadline: Deadline) -> float:
    """The seconds of one deadline, on the device's monotonic clock."""
    return getattr(limits, deadline.name.lower())
