"""Where a deployment's own things are on the device: its files, its volumes, and the network of a pod."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from fleet.agent.creation import Where
from fleet.agent.engine import Engine
from fleet.agent.networks import NoRoom, addresses, ensure_network, find_network
from fleet.agent.policy import refusal
from fleet.agent.problems import Problem
from fleet.agent.reconcile import Start
from fleet.agent.sealing import Unopened
from fleet.agent.volumes import ensure_volume, renamed, usual_name
from fleet.agent.workload_files import WorkloadFiles
from fleet.contract.containers import (
    DEPLOYMENT_LABEL,
    DEVICE_LABEL,
    SERVER_LABEL,
    SPEC_LABEL,
    network_name,
)
from fleet.contract.mounts import MountType
from fleet.contract.owner import Owner
from fleet.contract.pod import Member
from fleet.contract.wire import Container, Reason
from fleet.process.failures import in_words


class Places:
    """The places of one device's deployments."""

    def __init__(self, engine: Engine, owner: Owner, files: WorkloadFiles, root: Path) -> None:
        """`root` is what the device's paths begin with."""
        self._engine = engine
        self._owner = owner
        self._device = owner.device
        self._files = files
        self._root = root

    async def of(self, deployment: str, workload: Container) -> Where:
        """The paths of the workload's data; the network of a pod is made if it does not exist.

        Raises:
            NoRoom: that network has too few addresses, or is not ours.
        """
        files, in_memory = self._files.of(deployment, workload)
        prefix = usual_name(self._device, deployment, "")
        mounted = [mount.source for mount in workload.mounts if mount.type is MountType.VOLUME]
        others = await renamed(self._engine, self._owner, deployment, mounted)
        where = Where(str(self._root), prefix, str(files), str(in_memory), renamed=others)
        if not isinstance(workload, Member) or not workload.peers:
            return where
        name = network_name(self._device, deployment)
        network = await ensure_network(self._engine, name, self.labels(deployment))
        if not self.is_ours(network.labels, deployment):
            raise NoRoom(f"the network {name} on the device is not of this fleet's making")
        given = addresses(network, workload.peers)
        return msgspec.structs.replace(where, network=name, network_id=network.id, addresses=given)

    def labels(self, deployment: str) -> dict[str, str]:
        """What a deployment's containers, volumes and network are known by."""
        return {DEVICE_LABEL: self._device, SERVER_LABEL: self._owner.server, DEPLOYMENT_LABEL: deployment}

    def is_ours(self, labels: Mapping[str, str] | None, deployment: str) -> bool:
        """Whether something with these labels is the deployment's."""
        return self.labels(deployment).items() <= (labels or {}).items()

    async def restore_secrets(self, deployment: str, containers: Collection[str]) -> Problem | None:
        """Make the files from Secrets be there of containers that are no longer ordered: a reboot has taken them."""
        if not self._files.may_lack(deployment):
            return None
        for container in await self._engine.containers(f"{DEVICE_LABEL}={self._device}"):
            if container.id in containers:
                try:
                    await self._files.restore(deployment, container.labels.get(SPEC_LABEL, ""))
                except Unopened as error:
                    return Problem(Reason.SECRETS_NOT_OPENED, error.what)
                except OSError as error:
                    return Problem(Reason.FILES_NOT_WRITTEN, f"its files cannot be written: {in_words(error)}")
        return None

    async def may_return(self, deployment: str, containers: Collection[str]) -> Problem | None:
        """Make containers that are no longer ordered fit to run again (`restore_secrets`), where they may."""
        if not containers:
            return None
        return await self.forbidden(deployment, containers) or await self.restore_secrets(deployment, containers)

    async def forbidden(self, deployment: str, containers: Collection[str]) -> Problem | None:
        """Why the device's owner does not let containers run again that are no longer ordered; those that run go on."""
        every = await self._engine.containers(f"{DEVICE_LABEL}={self._device}")
        for container in every:
            if container.id in containers and container.state.status != "running":
                workload = self._files.made_from(deployment, container.labels.get(SPEC_LABEL, ""))
                if workload is not None and (problem := refusal(workload, self._root, every)) is not None:
                    return problem
        return None

    async def make_volumes(self, deployment: str, workload: Container, where: Where) -> Problem | None:
        """Make the volumes that it mounts; one that somebody else has made is a problem."""
        for mount in workload.mounts:
            if mount.type is MountType.VOLUME:
                name = where.volume(mount.source)
                volume = await ensure_volume(self._engine, name, self.labels(deployment))
                if not self.is_ours(volume, deployment):
                    step = "name the volume otherwise in the deployment, or remove it on the device"
                    return Problem(
                        Reason.NOT_ALLOWED, f"the volume {name} on the device is not of this fleet's making: {step}"
                    )
        return None

    async def has_gone(self, deployment: str, action: Start) -> bool:
        """Whether a container that does not run was made for a network that is gone: it starts in no other one.

        `docker network prune` takes the network of a pod of which no container runs, and the engine gives the next one
        another range.
        """
        workload, (network, address) = action.workload, action.place
        if not isinstance(workload, Member) or not address:
            return False
        where = await self.of(deployment, workload)
        return where.addresses.get(workload.name) != address or network not in {"", where.network_id}

    async def explained(self, deployment: str, action: Start, problem: Problem) -> Problem:
        """Why a container does not start. One from before a rollback cannot be made anew for another network."""
        made_for = action.place[0]
        if action.workload is not None or not made_for:
            return problem
        there = await find_network(self._engine, network_name(self._device, deployment))
        if there is not None and there.id == made_for:
            return problem
        return Problem(
            Reason.ENGINE_ERROR,
            "it ran before, and cannot run again: its network was removed on the device (docker network prune), and "
            "the device does not know any more what it was made of; order the deployment anew",
        )
