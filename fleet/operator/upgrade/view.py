"""Upgrades as the operator sees them, and its decisions: plain data.

Everything that decides lies in the `Device` object and in NATS, so that an operator that was just started decides as
the one before. The exception is `Lease.held_for`, which a new operator counts anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fleet.contract.config import UpgradeRules
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import UpgradeStatus
from fleet.contract.wire import AgentLease, AgentTarget, Heartbeat
from fleet.operator.new_condition import NewCondition


class Artifact(msgspec.Struct, frozen=True):
    """A published agent: what its manifest says of its file."""

    digest: Digest
    size: int


class DeviceView(msgspec.Struct, frozen=True):
    """One device at one moment.

    `beats` are the heartbeats of the device that are fresh by the NATS server's clock, one an instance, newest last.
    `lease_held_for` is how long this operator has seen the lease with its present holder, in seconds. `healthy`: every
    deployment that it is to run has been reported as running.
    """

    wanted: AgentVersion | None
    order: int = 0
    versions_kept: int | None = None
    target: AgentTarget | None = None
    status: UpgradeStatus | None = None
    running: AgentVersion | None = None
    """The writer's version, as it reported."""
    beats: tuple[Heartbeat, ...] = ()
    lease: AgentLease | None = None
    lease_held_for: float = 0
    healthy: bool = True
    online: bool = True
    grant_over: bool = False
    """It has had the lock for this attempt for the `grant` of the rules, by the operator's clock, whatever it says."""
    barred: bool = False
    """It is revoked or being deleted: nothing new begins."""


class FleetView(msgspec.Struct, frozen=True):
    """All devices, by name, and all published agents."""

    devices: Mapping[str, DeviceView]
    published: Mapping[AgentVersion, Artifact]
    rules: UpgradeRules = UpgradeRules()


class Decision(msgspec.Struct, frozen=True):
    """What one device's `agent-target` must be (None: leave it as it is), and its condition `Upgraded`.

    The target is written by compare-and-set over the revision that the view was made of: a decision that was overtaken
    must not be carried out. `claim` is None for a device of which nothing was ever wanted.
    """

    target: AgentTarget | None
    condition: NewCondition | None
