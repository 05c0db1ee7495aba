"""Carries out one planned action on the engine."""

from __future__ import annotations

from collections.abc import Callable

from fleet.agent.engine import Engine, EngineDown, EngineRefused
from fleet.agent.reconcile import Action, Remove, Run, Start
from fleet.agent.wishes import Problem
from fleet.contract.containers import (
    DEPLOYMENT_LABEL,
    DEVICE_LABEL,
    SPEC_LABEL,
    container_name,
    spec_hash,
)
from fleet.contract.names import DeviceId
from fleet.contract.wire import Reason

Stage = Callable[[Reason], None]


class Workloads:
    """The hands of one device's agent."""

    def __init__(self, engine: Engine, device: DeviceId) -> None:
        """Do nothing yet."""
        self._engine = engine
        self._device = device

    async def carry_out(self, deployment: str, action: Action, stage: Stage) -> Problem | None:
        """Do it, telling `stage` what is under way; returns what to report when it failed."""
        try:
            match action:
                case Run():
                    return await self._run(deployment, action, stage)
                case Start():
                    await self._engine.start(action.container)
                case Remove():
                    await self._remove(action.containers)
        except EngineDown as error:
            return Problem(Reason.ENGINE_UNAVAILABLE, error.what)
        except EngineRefused as error:
            return error.problem
        return None

    async def _run(self, deployment: str, action: Run, stage: Stage) -> Problem | None:
        image = action.workload.image
        if not await self._engine.has_image(image):
            stage(Reason.PULLING)
            try:
                await self._engine.pull(image)
            except EngineRefused as error:
                # What ran before goes on: an image that cannot be had must not take a working container away.
                return Problem(Reason.IMAGE_NOT_FOUND, f"the image is not on the device; {error.what}")
            stage(Reason.STARTING)
        await self._remove(action.instead_of)
        labels = {
            DEVICE_LABEL: str(self._device),
            DEPLOYMENT_LABEL: deployment,
            SPEC_LABEL: spec_hash(action.workload),
        }
        name = container_name(self._device, deployment)
        await self._engine.start(await self._engine.create(name, action.workload, labels))
        return None

    async def _remove(self, containers: tuple[str, ...]) -> None:
        for container in containers:
            await self._engine.remove(container)
