"""How a device's containers are named and labelled in its engine: by this the agent knows its own, and nothing else."""

from __future__ import annotations

import hashlib

import msgspec

from fleet.contract.wire import Workload

DEVICE_LABEL = "io.fleet.device"
SERVER_LABEL = "io.fleet.server"
"""`Owner.server`; containers of an agent from before there were owners have none."""
DEPLOYMENT_LABEL = "io.fleet.deployment"
SPEC_LABEL = "io.fleet.spec"
"""The `spec_hash` of the workload that a container was made from."""


def container_name(device: str, deployment: str) -> str:
    """The name of a deployment's container. For people: what is ours is decided by labels."""
    return f"fleet-{device}-{deployment}"


def spec_hash(workload: Workload) -> str:
    """A digest that changes exactly when the container must be replaced: 16 hex digits.

    It is written on running containers, so a newer agent must compute the same from the same workload: fields that are
    added later stay out of it while they hold their default.
    """
    return hashlib.sha256(msgspec.json.encode(workload, order="deterministic")).hexdigest()[:16]
