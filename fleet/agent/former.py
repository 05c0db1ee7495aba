"""Containers that are no longer ordered, and that the device went back to: made anew where their network was pruned."""

from __future__ import annotations

import asyncio
import secrets

import msgspec
import structlog

from fleet.agent.answers import Details
from fleet.agent.engine import Engine
from fleet.agent.networks import NoRoom, find_network
from fleet.agent.places import Places
from fleet.agent.reconcile import PREVIOUS, Start
from fleet.agent.workload_files import WorkloadFiles
from fleet.contract.containers import (
    ADDRESS_LABEL,
    CONTAINER_LABEL,
    DEPLOYMENT_LABEL,
    DEVICE_LABEL,
    NETWORK_LABEL,
    SPEC_LABEL,
    container_name,
    network_name,
)
from fleet.contract.pod import Member
from fleet.contract.workload import RESERVED

_log = structlog.stdlib.get_logger()
_SAME = (DEPLOYMENT_LABEL, CONTAINER_LABEL, SPEC_LABEL)


class Former:
    """The former containers of one device's pods."""

    def __init__(self, engine: Engine, device: str, places: Places, files: WorkloadFiles, making: asyncio.Lock) -> None:
        """`making` is held while a container is made."""
        self._engine = engine
        self._device = device
        self._places = places
        self._files = files
        self._making = making

    async def fit(self, deployment: str, action: Start) -> Start:
        """The action; for another container if its own was made for a network that is gone, and can be made anew.

        It cannot be if an agent of a former release made it, if its image is gone, or if its environment had secrets,
        which are kept nowhere.
        """
        made_for, address = action.place
        if action.workload is not None or not address:
            return action
        there = await find_network(self._engine, network_name(self._device, deployment))
        if there is not None and there.id == made_for:
            return action
        every = await self._engine.containers(f"{DEVICE_LABEL}={self._device}")
        old = next((details for details in every if details.id == action.container), None)
        workload = old and self._files.made_from(deployment, old.labels.get(SPEC_LABEL, ""))
        if old is None or not isinstance(workload, Member) or workload.secret_env:
            return action
        if not await self._engine.has_image(workload.image, workload.platform):
            return action
        twin = next((details for details in every if there is not None and _is_twin(details, old, there.id)), None)
        try:
            container = twin.id if twin else await self._made(deployment, workload, old)
        except NoRoom:
            return action
        _log.info("the network of a pod was made anew, and so is a container from before", deployment=deployment)
        await self._engine.remove(old.id)
        return msgspec.structs.replace(action, container=container, place=("", ""))

    async def _made(self, deployment: str, workload: Member, old: Details) -> str:
        async with self._making:
            where = await self._places.of(deployment, workload)
            labels = {name: value for name, value in old.labels.items() if name.startswith(RESERVED)}
            labels |= {ADDRESS_LABEL: where.addresses[workload.name], NETWORK_LABEL: where.network_id}
            name = f"{container_name(self._device, deployment, workload.name)}{PREVIOUS}{secrets.token_hex(4)}"
            return await self._engine.create(name, workload, labels, where)


def _is_twin(details: Details, old: Details, network: str) -> bool:
    """Whether it was made in the place of the old one, by an agent that was ended then."""
    same = all(details.labels.get(label) == old.labels.get(label) for label in _SAME)
    return same and details.id != old.id and details.labels.get(NETWORK_LABEL) == network
