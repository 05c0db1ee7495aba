"""How a device's containers are named and labelled in its engine: by this the agent knows its own, and nothing else."""

from __future__ import annotations

import hashlib

import msgspec

from fleet.contract.confinement import Update
from fleet.contract.pod import Member, as_sent
from fleet.contract.wire import Container, Workload

DEVICE_LABEL = "io.fleet.device"
SERVER_LABEL = "io.fleet.server"
"""`Owner.server`; containers of an agent from before there were owners have none."""
DEPLOYMENT_LABEL = "io.fleet.deployment"
CONTAINER_LABEL = "io.fleet.container"
"""The name of a container in its pod; one that stands alone has none."""
VOLUME_LABEL = "io.fleet.volume"
"""The id of a volume, which it is made with; volumes that agents of former releases made have none."""
ADDRESS_LABEL = "io.fleet.address"
"""The address of a container in the network of its pod."""
NETWORK_LABEL = "io.fleet.network"
"""The id of that network: one that was made anew has the same name, and knows none of the containers of before."""
ORDER_LABEL = "io.fleet.order"
"""The `spec_hash` of the whole pod that a container was made for."""
SPEC_LABEL = "io.fleet.spec"
"""The `spec_hash` of the workload that a container was made from."""


def container_name(device: str, deployment: str, container: str = "") -> str:
    """The name of a deployment's container. For people: what is ours is decided by labels."""
    return f"fleet-{device}-{deployment}{'_' if container else ''}{container}"


def network_name(device: str, deployment: str) -> str:
    """The name of the network of a pod."""
    return container_name(device, deployment)


def unit_of(deployment: str, container: str) -> str:
    """What stands for one container of a deployment in the agent's own records."""
    return f"{deployment}/{container}" if container else deployment


def spec_hash(workload: Workload) -> str:
    """A digest that changes exactly when the container must be replaced: 16 hex digits.

    It is written on running containers, so a newer agent must compute the same from the same workload: fields that are
    added later stay out of it while they hold their default.
    """
    # How it comes, and after what, is not what it is.
    if isinstance(workload, Member):
        hashed = msgspec.structs.replace(workload, update=Update(), image_pull_secret="", after=())
    elif isinstance(workload, Container):
        hashed = as_sent(msgspec.structs.replace(workload, update=Update(), image_pull_secret=""))
    else:
        hashed = msgspec.structs.replace(workload, update=Update())
    return hashlib.sha256(msgspec.json.encode(hashed, order="deterministic")).hexdigest()[:16]
