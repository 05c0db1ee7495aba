"""Looks at the engine and tells our containers, with the one thing the engine does not: since when a run is stable."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

from fleet.agent.answers import Details, EngineRefused, EngineSilent
from fleet.agent.engine import Engine
from fleet.agent.reconcile import Observed, Status
from fleet.contract.containers import (
    ADDRESS_LABEL,
    CONTAINER_LABEL,
    DEPLOYMENT_LABEL,
    DEVICE_LABEL,
    NETWORK_LABEL,
    ORDER_LABEL,
    SERVER_LABEL,
    SPEC_LABEL,
)
from fleet.contract.owner import Owner
from fleet.contract.wire import Restart

STEADY_AFTER = 10.0
"""Seconds that a container must run to count as stable; the engine resets its restart delay after the same time."""
EVENTS = ("create", "start", "die", "died", "destroy", "remove", "health_status", "pause", "unpause", "oom")
"""What changes a container; podman calls two of them `died` and `remove`."""
_KNOWN = {status.value: status for status in Status} | {"configured": Status.CREATED, "initialized": Status.CREATED}
"""The engines' words for states; podman has two for a container that has not run yet."""
_NEVER = "0001-"
"""How engines begin the time of a start that never was."""
_BARE = re.compile(r"[0-9a-f]{64}\Z")
"""How podman writes an image's id; docker puts `sha256:` before it."""
_BETWEEN = frozenset({"stopped", "stopping"})
"""podman's words for a container whose process has ended, before its policy is looked at (libpod/define)."""


class Observer:
    """Our containers on one engine. Times runs by its own monotonic clock, for the device's may jump by years."""

    def __init__(self, engine: Engine, owner: Owner) -> None:
        self._engine = engine
        self._owner = owner
        self._label = f"{DEVICE_LABEL}={owner.device}"
        self._first_seen: dict[tuple[str, str], float] = {}
        self._first_met: dict[str, float] = {}
        self._images: dict[str, tuple[tuple[str, ...], str]] = {}
        """Of each image, the digests by which registries know it, and that it is made for another machine."""

    async def look(self) -> list[Observed]:
        """Every container of this device that we made.

        Raises:
            EngineDown: the engine does not answer.
        """
        listed = await self._engine.containers(self._label)
        containers = [details for details in listed if belongs(details, self._owner)]
        now = time.monotonic()
        self._first_seen = {
            run: self._first_seen.get(run, now)
            for run in ((details.id, details.state.started_at) for details in containers)
        }
        self._first_met = {details.id: self._first_met.get(details.id, now) for details in containers}
        await self._learn_images({details.image for details in containers if details.image})
        return [self._observed(details, now) for details in containers if DEPLOYMENT_LABEL in details.labels]

    async def _learn_images(self, images: set[str]) -> None:
        """Ask once for each image that a container was made from, for one that hangs must not delay every look."""
        self._images = {image: known for image, known in self._images.items() if image in images}
        for image in images - self._images.keys():
            try:
                self._images[image] = await self._engine.digests(image), (await self._engine.machines(image)).differ
            except (EngineRefused, EngineSilent):
                self._images[image] = (), ""

    def changes(self) -> AsyncIterator[None]:
        """One item when the engine is there, then one per change of our containers; see `Engine.events`."""
        return self._engine.events(self._label, EVENTS)

    def _observed(self, details: Details, now: float) -> Observed:
        labels = details.labels
        state, health = details.state, details.state.health
        probes = health.log if health and health.log else []
        seen = self._first_seen[details.id, state.started_at]
        digests, foreign = self._images.get(details.image, ((), ""))
        return Observed(
            id=details.id,
            name=details.name.lstrip("/"),
            deployment=labels[DEPLOYMENT_LABEL],
            container=labels.get(CONTAINER_LABEL, ""),
            order=labels.get(ORDER_LABEL, ""),
            spec=labels.get(SPEC_LABEL, ""),
            status=status_of(details),
            exit_code=state.exit_code,
            error=state.error,
            unclear=details.unclear,
            out_of_memory=state.out_of_memory,
            restarts=details.restart_count,
            place=(labels.get(NETWORK_LABEL, ""), labels.get(ADDRESS_LABEL, "")),
            health=health.status if health else "",
            health_output=probes[-1].output.strip() if probes else "",
            steady_in=max(0.0, seen + STEADY_AFTER - now),
            age=now - self._first_met[details.id],
            image_id=f"sha256:{details.image}" if _BARE.match(details.image) else details.image,
            image_digests=digests,
            resumes=_resumes(details),
            foreign=foreign,
        )


def _resumes(details: Details) -> bool:
    """Whether it ran, and the engine should run it. After a power cut, dockerd says `exited` and podman `created`."""
    has_started = details.state.started_at and not details.state.started_at.startswith(_NEVER)
    if status_of(details) not in {Status.EXITED, Status.CREATED} or not has_started:
        return False
    policy = details.host_config.restart_policy.name if details.host_config.restart_policy else ""
    on_failure = policy == Restart.ON_FAILURE.value and (
        details.state.exit_code != 0 or details.state.status != "exited"
    )
    return on_failure or policy in {Restart.ALWAYS.value, Restart.UNLESS_STOPPED.value}


def belongs(details: Details, owner: Owner) -> bool:
    """Whether an owner ordered a container; one without a server is of an agent from before there were owners."""
    labels = details.labels
    return labels.get(DEVICE_LABEL) == owner.device and labels.get(SERVER_LABEL, owner.server) == owner.server


def status_of(details: Details) -> Status:
    """The container's state; one that only a newer engine knows is one in which it does not run."""
    if details.state.status in _BETWEEN and details.restart_count:
        return Status.RESTARTING
    return _KNOWN.get(details.state.status, Status.EXITED)
