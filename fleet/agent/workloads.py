"""Carries out one planned action on the engine."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from functools import partial

import structlog

from fleet.agent import disk
from fleet.agent.answers import Details, EngineDown, EngineRefused
from fleet.agent.engine import Engine
from fleet.agent.former import Former
from fleet.agent.machines import unfit
from fleet.agent.networks import LeftNetworks, NoRoom
from fleet.agent.paths import AgentPaths
from fleet.agent.places import Places
from fleet.agent.policy import refusal
from fleet.agent.problems import Problem, WentBack
from fleet.agent.pruning import Pruning
from fleet.agent.pulled import Pulled
from fleet.agent.pulls import Pulls, asked_with
from fleet.agent.reconcile import PREVIOUS, Action, Named, Remove, RollBack, Run, Start
from fleet.agent.sealing import Sealing, Unopened, member_name
from fleet.agent.workload_files import WorkloadFiles
from fleet.contract.confinement import Network, PullPolicy, Update, UpdateOrder
from fleet.contract.containers import (
    ADDRESS_LABEL,
    CONTAINER_LABEL,
    DEPLOYMENT_LABEL,
    DEVICE_LABEL,
    NETWORK_LABEL,
    ORDER_LABEL,
    SPEC_LABEL,
    container_name,
    spec_hash,
    unit_of,
)
from fleet.contract.mounts import MountType
from fleet.contract.owner import Owner
from fleet.contract.wire import Container, Reason

_log = structlog.stdlib.get_logger()

Stage = Callable[[Reason, str], None]
"""Takes what is under way, and how far it is in words."""


class Workloads:
    """The hands of one device's agent."""

    def __init__(self, engine: Engine, owner: Owner, place: AgentPaths, sealing: Sealing) -> None:
        self._engine = engine
        self._images = Pulled(place.images)
        self._pruning = Pruning(engine, self._images)
        self._pulls = Pulls(engine)
        self._files = WorkloadFiles(place, sealing)
        self._places = Places(engine, owner, self._files, place.root)
        self._sealing, self._root = sealing, place.root
        self.making = asyncio.Lock()
        """Held from a look at what is there to the making of a container that depends on it."""
        self._former = Former(engine, owner.device, self._places, self._files, self.making)
        self._device = owner.device
        self._networks = LeftNetworks(engine, owner, self.making)

    async def carry_out(self, deployment: str, action: Action, stage: Stage) -> Problem | None:
        """Do it, telling `stage` what is under way; returns what to report when it failed."""
        try:
            problem = await self._act(deployment, action, stage)
        except EngineDown as error:
            return Problem(Reason.ENGINE_UNAVAILABLE, error.what)
        except EngineRefused as error:
            return error.problem
        if problem is None:
            workload = action.workload if isinstance(action, Run | Start) else None
            if workload is not None and not (isinstance(action, Run) and not action.start):
                self._images.used(unit_of(deployment, member_name(workload)), workload.image)
            try:
                await self._clear(deployment, alone=isinstance(action, Remove))
            except (EngineDown, EngineRefused):
                self._networks.found()
        return problem

    async def clear_left(self) -> None:
        """Remove networks and images that nothing needs. No start waits for it."""
        await self._networks.clear()
        await self._pruning.clear()

    async def _act(self, deployment: str, action: Action, stage: Stage) -> Problem | None:
        match action:
            case Run():
                return await self._run(deployment, action, stage)
            case Start():
                former = (action.container,) if action.workload is None else ()
                problem = await self._places.may_return(deployment, former)
                return problem or await self._start(deployment, await self._former.fit(deployment, action))
            case Remove():
                return await self._remove(action.containers)
            case RollBack():
                return await self._return(deployment, action)

    async def _run(self, deployment: str, action: Run, stage: Stage) -> Problem | None:
        """Nothing that runs is touched before its replacement is there: an image, then a container made from it."""
        if action.meanwhile:
            await self._resume(deployment, action.meanwhile)
        problem = await self._refusal(action.workload) or await self._image(deployment, action, stage)
        problem = problem or await self._unfit(action) or await self._write_files(deployment, action)
        if problem is not None:
            return problem
        try:  # before anything is held: it takes a process, which may hang
            workload = await self._sealing.filled(deployment, action.workload, action.sealed)
        except Unopened as error:
            return Problem(Reason.SECRETS_NOT_OPENED, error.what)
        member = member_name(action.workload)
        name = container_name(self._device, deployment, member)
        if action.instead_of:
            name = f"{name}.next.{secrets.token_hex(4)}"
        labels = self._places.labels(deployment) | {SPEC_LABEL: spec_hash(action.workload)}
        labels |= {CONTAINER_LABEL: member, ORDER_LABEL: action.order} if member else {}
        async with self.making:
            problem = await self._prepare(deployment, action)
            if problem is not None:
                return problem
            where = await self._places.of(deployment, action.workload)
            if address := where.addresses.get(member):
                labels |= {ADDRESS_LABEL: address, NETWORK_LABEL: where.network_id}
            container = await self._engine.create(name, workload, labels, where)
        if not action.start:
            return None
        update = action.workload.update
        if action.workload.ports or action.workload.network is Network.HOST:
            update = Update(deadline=update.deadline)
        return await self._start(deployment, Start(container, action.instead_of, action.back_to, update=update))

    async def _resume(self, deployment: str, container: str) -> None:
        """Start what a power cut ended, where that is possible: its replacement may have to be fetched first."""
        if await self._places.may_return(deployment, (container,)) is None:
            with contextlib.suppress(EngineRefused):
                await self._engine.start(container)

    async def _image(self, deployment: str, action: Run, stage: Stage) -> Problem | None:
        workload = action.workload
        image, policy = workload.image, workload.pull
        self._images.ordered(unit_of(deployment, member_name(workload)), image)
        there = await self._engine.has_image(image, workload.platform)
        if there and policy is not PullPolicy.ALWAYS:
            return None
        if policy is PullPolicy.NEVER:
            return Problem(Reason.IMAGE_NOT_FOUND, f"{image} is not on the device, and its pull policy is Never")
        if why := await self._lacking(deployment):
            return Problem(Reason.DISK_FULL, why)
        stage(Reason.PULLING, "")
        try:
            login = await self._sealing.login(deployment, workload, action.sealed)
        except Unopened as error:
            return Problem(Reason.SECRETS_NOT_OPENED, error.what)
        try:
            await self._pulls.pull(image, workload.platform, login, partial(stage, Reason.PULLING))
        except EngineRefused as error:
            missing = "the image is fetched at each start" if there else "the image is not on the device"
            return Problem(error.problem.reason, f"{missing}; {error.what}{asked_with(login, error.problem.reason)}")
        if not there:
            self._images.pulled(image)
        stage(Reason.STARTING, "")
        return None

    async def _unfit(self, action: Run) -> Problem | None:
        """Whether its image cannot run here, or may not, and would replace something: that goes on."""
        try:
            machines = await self._engine.machines(action.workload.image)
        except EngineRefused:
            return None  # it does not tell, and may run it all the same
        why = unfit(machines, replaces=bool(action.back_to))
        return Problem(Reason.WRONG_PLATFORM, why) if why else None

    async def _lacking(self, deployment: str) -> str:
        """Why no image may be fetched, after what nothing needs was removed; empty where there is room."""
        if disk.lacking(folder := await self._engine.folder()):
            await self._clear(deployment, short=True)
        return disk.lacking(folder)

    async def _refusal(self, workload: Container) -> Problem | None:
        """Whether the device lets it start; what runs is asked only where that matters."""
        others: list[Details] = []
        if any(mount.type is MountType.BIND for mount in workload.mounts):
            others = await self._engine.containers(f"{DEVICE_LABEL}={self._device}")
        return refusal(workload, self._root, others)

    async def _prepare(self, deployment: str, action: Run | Start) -> Problem | None:
        """Make what its container mounts be there. Looks again at what is forbidden: a pull may have taken hours."""
        if (workload := action.workload) is None:
            return None
        if (problem := await self._refusal(workload)) is not None:
            return problem
        try:
            where = await self._places.of(deployment, workload)
        except NoRoom as error:
            return Problem(Reason.ENGINE_ERROR, str(error))
        problem = await self._write_files(deployment, action)
        return problem or await self._places.make_volumes(deployment, workload, where)

    async def _write_files(self, deployment: str, action: Run | Start) -> Problem | None:
        """Make its files be there; those that are there are as they should be."""
        if (workload := action.workload) is None:
            return None
        try:
            await self._files.write(deployment, workload, action.sealed)
        except Unopened as error:
            return Problem(Reason.SECRETS_NOT_OPENED, error.what)
        except OSError as error:
            return Problem(Reason.FILES_NOT_WRITTEN, f"its files cannot be written: {error.strerror or error}")
        return None

    async def _start(self, deployment: str, action: Start) -> Problem | None:
        """Start a container in the place of others: they are stopped, and removed only once it has started."""
        if (problem := await self._prepare(deployment, action)) is not None:
            return problem
        if await self._places.has_gone(deployment, action):
            _log.info("the network of a pod was made anew, and so is its container", deployment=deployment)
            await self._engine.remove(action.container)
            return None
        try:
            for container, member in (*action.aside, *_pair(action)):
                await self._set_aside(container, container_name(self._device, deployment, member))
            for container, _ in action.aside:
                await self._engine.stop(container)
            first = action.update.order is UpdateOrder.START_FIRST
            for container in action.instead_of:
                if not (first and container == action.back_to):
                    await self._engine.stop(container)
            await self._engine.start(action.container)
        except EngineRefused as error:
            return await self._go_back(deployment, action, error.problem)
        kept = action.back_to if action.update != Update() else ""  # until it is known to be well
        await self._remove(tuple(container for container in action.instead_of if container != kept))
        if action.instead_of or action.workload is None:
            await self._call_by_name(deployment, action.container, action.member)
        return None

    async def _call_by_name(self, deployment: str, container: str, member: str) -> None:
        with contextlib.suppress(EngineRefused):  # for people; and it may have its name still
            await self._engine.rename(container, container_name(self._device, deployment, member))

    async def _set_aside(self, container: str, name: str) -> None:
        """Rename what is to be replaced. dockerd refuses that between two starts of a container that crashes."""
        name = f"{name}{PREVIOUS}{secrets.token_hex(4)}"
        try:
            await self._engine.rename(container, name)
        except EngineRefused:
            await self._engine.stop(container)
            await self._engine.rename(container, name)

    async def _go_back(self, deployment: str, action: Start, problem: Problem) -> Problem:
        """What ran before its replacement runs again; what cannot be started goes."""
        back = (*action.aside, *_pair(action))
        if not back:
            return await self._places.explained(deployment, action, problem)
        if (why := await self._places.forbidden(deployment, [container for container, _ in back])) is not None:
            return WentBack(problem.reason, f"{problem.message}; and going back to what ran before: {why.message}")
        lost = await self._places.restore_secrets(deployment, [container for container, _ in back])
        try:
            for container, _ in back:
                await self._engine.start(container)
            await self._engine.remove(action.container)
        except EngineRefused as error:
            why = lost.message if lost else error.what
            return WentBack(problem.reason, f"{problem.message}; and going back to what ran before: {why}")
        for container, member in back:
            await self._call_by_name(deployment, container, member)
        return WentBack(problem.reason, f"{problem.message}; what ran before runs again")

    async def _return(self, deployment: str, action: RollBack) -> Problem:
        """The containers before run again; where they cannot, those that were not well go on."""
        lost = await self._places.may_return(deployment, [container for container, _ in action.back_to])
        if lost is not None:
            return WentBack(lost.reason, f"{action.why}; and going back to what ran before: {lost.message}")
        try:
            for container in action.containers:
                await self._engine.stop(container)
            for container, _ in action.back_to:
                await self._engine.start(container)
        except EngineRefused as error:
            for container, _ in action.back_to:
                with contextlib.suppress(EngineRefused):
                    await self._engine.stop(container)
            for container in action.containers:
                with contextlib.suppress(EngineRefused):
                    await self._engine.start(container)
            return WentBack(error.problem.reason, f"{action.why}; and going back to what ran before: {error.what}")
        await self._remove(action.containers)
        for container, member in action.back_to:
            await self._call_by_name(deployment, container, member)
        return WentBack(Reason.WENT_BACK, f"{action.why}; what ran before runs again")

    async def _remove(self, containers: tuple[str, ...]) -> None:
        for container in containers:
            await self._engine.remove(container)

    async def _clear(self, deployment: str, *, alone: bool = False, short: bool = False) -> None:
        """Remove files that no container has, and networks if it is `alone`: else others may be on their way.

        Images are removed later, or at once if the disk is `short` of space. Volumes stay.
        """
        async with self.making:
            every = await self._engine.containers(f"{DEVICE_LABEL}={self._device}")
            left = [details for details in every if details.labels.get(DEPLOYMENT_LABEL) == deployment]
            self._files.keep(deployment, {details.labels.get(SPEC_LABEL, "") for details in left})
            if alone:
                units = {unit_of(deployment, details.labels.get(CONTAINER_LABEL, "")) for details in left}
                self._images.ended(deployment, units)
                await self._networks.remove(every)
        await self._pruning.found(at_once=short)


def _pair(action: Start) -> Named:
    """The container that gives way, if there is one."""
    return ((action.back_to, action.member),) if action.back_to else ()
