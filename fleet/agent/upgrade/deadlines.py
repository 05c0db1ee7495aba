"""What an agent waits for in an upgrade, and for how long."""

from __future__ import annotations

from enum import Enum

import msgspec


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
