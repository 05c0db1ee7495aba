"""Carries out one planned action on the engine."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path

import structlog

from fleet.agent.answers import EngineDown, EngineRefused
from fleet.agent.engine import Engine
from fleet.agent.pulled import Pulled
from fleet.agent.reconcile import PREVIOUS, Action, Remove, Run, Start
from fleet.agent.wishes import Problem, WentBack
from fleet.contract.containers import (
    DEPLOYMENT_LABEL,
    DEVICE_LABEL,
    SERVER_LABEL,
    SPEC_LABEL,
    container_name,
    spec_hash,
)
from fleet.contract.owner import Owner
from fleet.contract.wire import Reason

_log = structlog.stdlib.get_logger()

Stage = Callable[[Reason], None]


class Workloads:
    """The hands of one device's agent."""

    def __init__(self, engine: Engine, owner: Owner, images: Path) -> None:
        """Do nothing yet. `images` is the file that records what was pulled."""
        self._engine = engine
        self._images = Pulled(images)
        self._owner = owner
        self._device = owner.device

    async def carry_out(self, deployment: str, action: Action, stage: Stage) -> Problem | None:
        """Do it, telling `stage` what is under way; returns what to report when it failed."""
        try:
            problem = await self._act(deployment, action, stage)
        except EngineDown as error:
            return Problem(Reason.ENGINE_UNAVAILABLE, error.what)
        except EngineRefused as error:
            return error.problem
        if problem is None:
            with contextlib.suppress(EngineDown, EngineRefused):  # what is left is tried after the next action
                await self._clear_images(deployment)
        return problem

    async def _act(self, deployment: str, action: Action, stage: Stage) -> Problem | None:
        match action:
            case Run():
                return await self._run(deployment, action, stage)
            case Start():
                return await self._start(deployment, action)
            case Remove():
                return await self._remove(action.containers)

    async def _run(self, deployment: str, action: Run, stage: Stage) -> Problem | None:
        """Nothing that runs is touched before its replacement is there: an image, then a container made from it."""
        image = action.workload.image
        self._images.used(deployment, image)
        if not await self._engine.has_image(image):
            stage(Reason.PULLING)
            try:
                await self._engine.pull(image)
            except EngineRefused as error:
                return Problem(Reason.IMAGE_NOT_FOUND, f"the image is not on the device; {error.what}")
            self._images.pulled(image)
            stage(Reason.STARTING)
        name = container_name(self._device, deployment)
        if action.instead_of:
            name = f"{name}.next.{secrets.token_hex(4)}"
        labels = {
            DEVICE_LABEL: self._device,
            SERVER_LABEL: self._owner.server,
            DEPLOYMENT_LABEL: deployment,
            SPEC_LABEL: spec_hash(action.workload),
        }
        made = await self._engine.create(name, action.workload, labels)
        return await self._start(deployment, Start(made, action.instead_of, action.back_to))

    async def _start(self, deployment: str, action: Start) -> Problem | None:
        """Start a container in the place of others: they are stopped, and removed only once it has started."""
        try:
            if action.back_to:
                name = f"{container_name(self._device, deployment)}{PREVIOUS}{secrets.token_hex(4)}"
                await self._set_aside(action.back_to, name)
            for one in action.instead_of:
                await self._engine.stop(one)
            await self._engine.start(action.container)
        except EngineRefused as error:
            return await self._go_back(deployment, action, error.problem)
        await self._remove(action.instead_of)
        if action.instead_of:
            with contextlib.suppress(EngineRefused):  # the name is for people
                await self._engine.rename(action.container, container_name(self._device, deployment))
        return None

    async def _set_aside(self, container: str, name: str) -> None:
        """Rename what is to be replaced. dockerd refuses that between two starts of a container that crashes."""
        try:
            await self._engine.rename(container, name)
        except EngineRefused:
            await self._engine.stop(container)
            await self._engine.rename(container, name)

    async def _go_back(self, deployment: str, action: Start, problem: Problem) -> Problem:
        """What ran before its replacement runs again; what cannot be started goes."""
        if not action.back_to:
            return problem
        try:
            await self._engine.start(action.back_to)
            await self._engine.remove(action.container)
        except EngineRefused as error:
            return WentBack(problem.reason, f"{problem.message}; and going back to what ran before: {error.what}")
        with contextlib.suppress(EngineRefused):  # it has its name still where it could not be set aside
            await self._engine.rename(action.back_to, container_name(self._device, deployment))
        return WentBack(problem.reason, f"{problem.message}; what ran before runs again")

    async def _remove(self, containers: tuple[str, ...]) -> None:
        for container in containers:
            await self._engine.remove(container)

    async def _clear_images(self, deployment: str) -> None:
        """Remove what we pulled and nothing needs; the engine refuses what any container was made from."""
        left = await self._engine.containers(f"{DEVICE_LABEL}={self._device}")
        if not any(one.labels.get(DEPLOYMENT_LABEL) == deployment for one in left):
            self._images.ended(deployment)
        for image in self._images.surplus():
            if await self._engine.remove_image(image):
                _log.info("an image that nothing needs is removed", image=image)
                self._images.removed(image)
