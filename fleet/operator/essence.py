"""The parts of a report that a decision depends on: the store uses them to detect news."""

from __future__ import annotations

from fleet.contract.wire import AgentLease, DeviceState, Heartbeat


def state_of(state: DeviceState) -> object:
    """How a workload stands."""
    standing = state.generation, state.secrets, state.phase, state.reason, state.message
    return *standing, state.image_id, state.image_digests, state.containers


def agent_of(heartbeat: Heartbeat) -> object:
    """Which agent beats, and what for."""
    return heartbeat.agent_version, heartbeat.boot_id, heartbeat.generation


def holder(lease: AgentLease) -> object:
    """Which agent writes."""
    return lease.instance_id, lease.generation, lease.boot_id
