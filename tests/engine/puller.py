"""A device that pulls: the hands of an agent on an engine, and a container of ours that runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from fleet.agent.engine import Engine
from fleet.agent.paths import AgentPaths
from fleet.agent.problems import Problem
from fleet.agent.reconcile import Run
from fleet.agent.sealing import Sealing
from fleet.agent.workloads import Workloads
from fleet.contract.containers import DEVICE_LABEL
from fleet.contract.owner import Owner
from fleet.contract.sealed import Contents, RegistryLogin, Sealed
from fleet.contract.wire import Container2
from fleet.sealing.box import seal
from harness.images import IMAGE
from tests.engine.lab import Lab

DEPLOYMENT = "web"


class Device:
    """The hands of an agent on an engine: its own folder, and a container of ours that runs."""

    def __init__(self, engine: Engine, lab: Lab, root: Path) -> None:
        self._engine = engine
        self._device = f"pi-{lab.mark}"
        place = AgentPaths(root)
        self._sealing = Sealing(place.sealing_key, self._device)
        self.said: list[str] = []
        self._hands = Workloads(engine, Owner(self._device, "here"), place, self._sealing)

    async def order(
        self, image: str, login: RegistryLogin | None = None, instead_of: str = "", deployment: str = DEPLOYMENT
    ) -> Problem | None:
        """Run an image, in the place of a container."""
        sealed = None
        if login is not None:
            key = await self._sealing.key()
            sealed = Sealed(key, "1", seal(Contents(login=login), key, self._device, deployment))
        name = "registry" if login else ""
        workload = Container2(image=image, command=("sleep", "1000000"), image_pull_secret=name)
        action = Run(workload, (instead_of,) if instead_of else (), instead_of, sealed)
        return await self._hands.carry_out(deployment, action, lambda _, how_far: self.said.append(how_far))

    async def running(self) -> dict[str, str]:
        """The device's containers that run, and since when."""
        found = await self._engine.containers(f"{DEVICE_LABEL}={self._device}")
        return {one.id: one.state.started_at for one in found if one.state.status == "running"}

    async def remove(self) -> None:
        for one in await self._engine.containers(f"{DEVICE_LABEL}={self._device}"):
            await self._engine.remove(one.id)


@contextlib.asynccontextmanager
async def device(engine: Engine, lab: Lab, root: Path) -> AsyncGenerator[tuple[Device, str]]:
    """A device with a container of ours that runs; it is removed after."""
    made = Device(engine, lab, root)
    try:
        assert await made.order(IMAGE) is None
        (running,) = await made.running()
        yield made, running
    finally:
        await made.remove()
