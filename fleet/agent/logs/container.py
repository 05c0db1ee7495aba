"""Reads a container's log from the engine, no faster than a small device can bear."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from fleet.agent.answers import Details, Past
from fleet.agent.engine import Engine
from fleet.agent.logs.budget import Budget
from fleet.agent.logs.frames import Lines, NoFrames
from fleet.agent.logs.outbox import Outbox
from fleet.agent.observe import belongs
from fleet.contract.containers import CONTAINER_LABEL, DEPLOYMENT_LABEL, DEVICE_LABEL, container_name
from fleet.contract.errors import FleetError, NotFound
from fleet.contract.logs import MAX_TAIL, LogAsk
from fleet.contract.owner import Owner

_READ_RATE = 512 * 1024
"""Bytes a second that are read of the logs of all containers: about a hundredth of a small board's core."""
_READ_BURST = 2 * 1024 * 1024
_BEHIND = 2.0
"""Seconds of waiting for that rate after which a following reader continues with the newest lines."""

_SUCCESSOR = 60.0
"""Seconds that a following reader waits until the container starts again, or another one replaces it: the longest pause
of an engine before it restarts a crashed container."""
_LOOK = 0.5
"""Seconds between two looks for it."""


class ContainerLogs:
    """The logs of the containers that one owner ordered."""

    def __init__(self, engine: Engine, owner: Owner) -> None:
        self._engine = engine
        self._owner = owner
        self._budget = Budget(_READ_RATE, _READ_BURST)

    async def read(self, ask: LogAsk, outbox: Outbox) -> str:
        """Answer; returns why it ends.

        Raises:
            NotFound: there is no such container, or there are several and none was named.
            FleetError: the engine does not show it.
        """
        container: Details | None = _chosen(await self._ours(ask.deployment), self._owner.device, ask)
        wanted = Past(time.time() - ask.since if ask.since else 0.0, ask.tail)
        while container is not None:
            heard = await self._to_its_end(container.id, wanted, ask, outbox)
            if not ask.follow:
                return ""
            before = container
            container = await self._successor(before, ask)
            if container is not None:
                # Of the same container, podman may have told a start already, and another may be over by now.
                since = (heard or wanted.since) if container.id == before.id else _began(container)
                wanted = Past(since, MAX_TAIL)
        return f"the container has stopped, and none has taken its place within {_SUCCESSOR:g} s"

    async def _successor(self, before: Details, ask: LogAsk) -> Details | None:
        """The container that was started last since one ended: another one, or itself; None where none was in time."""
        deadline = time.monotonic() + _SUCCESSOR
        while time.monotonic() < deadline:
            every = await self._ours(ask.deployment)
            newer = [
                details
                for details in every
                if ask.container in {"", details.name.lstrip("/"), details.labels.get(CONTAINER_LABEL)}
                and _began(details) > _began(before)
            ]
            if newer:
                return max(newer, key=_began)
            await asyncio.sleep(_LOOK)
        return None

    async def _to_its_end(self, container: str, wanted: Past, ask: LogAsk, outbox: Outbox) -> float:
        """Read to the end, passing over what is written faster than is read here; when the last of it came (Unix)."""
        while True:
            heard, behind = await self._read(container, wanted, ask, outbox)
            if not behind:
                return heard
            outbox.skip()
            wanted = Past(time.time(), MAX_TAIL)

    async def _read(self, container: str, wanted: Past, ask: LogAsk, outbox: Outbox) -> tuple[float, bool]:
        """When the last of it came; whether it was broken off, since the container writes faster than is read here."""
        lines, waited, heard = Lines(), 0.0, 0.0
        try:
            async for data in self._engine.logs(container, wanted, follow=ask.follow):
                heard = time.time()
                await outbox.put(lines.feed(data))
                pause = await self._budget.spend(len(data))
                waited = waited + pause if pause else 0.0
                if ask.follow and waited > _BEHIND:
                    return heard, True
        except NoFrames as error:
            raise FleetError(
                f"the engine's log of {ask.deployment} cannot be read: {error}", next_step="see the engine's log there"
            ) from error
        await outbox.put(lines.end())
        return heard, False

    async def _ours(self, deployment: str) -> list[Details]:
        containers = await self._engine.containers(f"{DEVICE_LABEL}={self._owner.device}")
        return [
            details
            for details in containers
            if belongs(details, self._owner) and details.labels.get(DEPLOYMENT_LABEL) == deployment
        ]


def _chosen(containers: list[Details], device: str, ask: LogAsk) -> Details:
    """The container that is meant; without a name, the only one, or the one that has the deployment's name."""
    names = sorted(details.name.lstrip("/") for details in containers)
    members = sorted({details.labels[CONTAINER_LABEL] for details in containers if CONTAINER_LABEL in details.labels})
    if not containers:
        raise NotFound(f"there is no container of {ask.deployment}", next_step=f"see `fleet device show {device}`")
    wanted = ask.container or (container_name(device, ask.deployment) if len(containers) > 1 else names[0])
    named = [details for details in containers if details.name.lstrip("/") == wanted]
    # By its label, for while it is replaced it has another name in the engine.
    named += [
        details for details in containers if ask.container and details.labels.get(CONTAINER_LABEL) == ask.container
    ]
    if named:
        return max(named, key=_began)
    there = ", ".join(members or names)
    if ask.container:
        what = f"there is no container {ask.container} of {ask.deployment}; there are: {there}"
    else:
        what = f"{ask.deployment} has several containers, and --container names none: {there}"
    raise NotFound(what, next_step="name one of them")


def _began(container: Details) -> float:
    """When it was started last, Unix seconds of the engine's clock; 0 for never, and where the engine does not tell."""
    try:
        return max(datetime.fromisoformat(container.state.started_at).timestamp(), 0.0)
    except (ValueError, OverflowError):
        return 0.0
