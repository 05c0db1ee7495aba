"""Desired and observed in, actions out: what must happen so that the device runs what it should. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import msgspec

from fleet.agent.desired_state import Deployment, DesiredState
from fleet.contract.confinement import Update
from fleet.contract.containers import spec_hash
from fleet.contract.pod import SentPod
from fleet.contract.sealed import Sealed
from fleet.contract.wire import Container, Restart, Workload


class Status(Enum):
    """A container's state (Docker Engine API, `ContainerState.Status`)."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class Observed(msgspec.Struct, frozen=True):
    """One of our containers as the engine shows it.

    `unclear` says why the engine does not show it; then it is known from the engine's list alone. `steady_in` is the
    time in seconds until the present run counts as stable, 0 when it does; `age` is since when the agent knows it.
    """

    id: str
    deployment: str
    spec: str
    status: Status
    name: str = ""
    container: str = ""
    """Its name in its pod."""
    order: str = ""
    """The `spec_hash` of the pod that it was made for."""
    place: tuple[str, str] = ("", "")
    """The id of the network of its pod, and its address there."""
    unclear: str = ""
    exit_code: int = 0
    error: str = ""
    out_of_memory: bool = False
    restarts: int = 0
    health: str = ""
    health_output: str = ""
    steady_in: float = 0
    age: float = 0
    image_id: str = ""
    image_digests: tuple[str, ...] = ()
    resumes: bool = False
    """Whether it ran, does not run now, and is to run by its own restart policy: after a power cut, for example."""
    foreign: str = ""
    """That its image is made for another machine, in words."""


Named = tuple[tuple[str, str], ...]
"""Containers: the id of each, and its name in its pod."""


class Run(msgspec.Struct, frozen=True):
    """Make a container from the workload and start it, in the place of the given ones.

    `back_to` is the one of them that runs again if the new one cannot be started.
    """

    workload: Container
    instead_of: tuple[str, ...] = ()
    back_to: str = ""
    sealed: Sealed | None = None
    """The secrets that the workload takes."""
    start: bool = True
    """Else it is only made, so that nothing else is touched before it can be."""
    order: str = ""
    """The `spec_hash` of the pod that it is of."""
    meanwhile: str = ""
    """What ran before, and is to run again until the new one can: a pull may take hours."""


class Start(msgspec.Struct, frozen=True):
    """Start a container that is as it should be, but does not run; as `Run` otherwise."""

    container: str
    instead_of: tuple[str, ...] = ()
    back_to: str = ""
    workload: Container | None = None
    """What it was made from; None where the same action has just made it, or it is the one before."""
    update: Update = Update()
    """How it takes its place: what ran before is kept until it is well."""
    sealed: Sealed | None = None
    aside: Named = ()
    """Others that end before it starts, and run again if it cannot: they stay for as long as they may be needed."""
    member: str = ""
    """Its name in its pod."""
    place: tuple[str, str] = ("", "")
    """As `Observed.place`."""


class Remove(msgspec.Struct, frozen=True):
    """Stop and remove containers."""

    containers: tuple[str, ...]


class RollBack(msgspec.Struct, frozen=True):
    """Run the containers before again, in the place of those that were not well in time."""

    containers: tuple[str, ...]
    back_to: Named
    why: str


Action = Run | Start | Remove | RollBack


def plan(desired_state: DesiredState, observed: Sequence[Observed]) -> dict[str, Action]:
    """The next action of each deployment that needs one; see `next_action`."""
    containers = by_deployment(observed)
    actions: dict[str, Action] = {}
    for name in (*desired_state, *(name for name in containers if name not in desired_state)):
        action = next_action(desired_state.get(name), containers.get(name, ()))
        if action is not None:
            actions[name] = action
    return actions


def by_deployment(observed: Sequence[Observed]) -> dict[str, list[Observed]]:
    """Each deployment's containers."""
    containers: dict[str, list[Observed]] = {}
    for container in observed:
        containers.setdefault(container.deployment, []).append(container)
    return containers


def next_action(
    desired: Deployment | None, containers: Sequence[Observed], *, rolled_back: bool = False
) -> Action | None:
    """What to do next about one deployment, from its desired state and its own containers; None for nothing.

    A container made from the same workload is never touched while it runs. The containers of a removed deployment are
    removed. A desired state that was never parsed changes nothing. `pods` plans pods. If the device `rolled_back` the
    order, the previous container goes on.
    """
    there = [container for container in containers if container.status is not Status.REMOVING]
    if desired is None:
        return Remove(tuple(container.id for container in there)) if there else None
    if desired.workload is None or isinstance(desired.workload, SentPod):
        return None
    if rolled_back and there:
        before = max(there, key=liveliness)
        return Start(before.id) if before.resumes or must_start(desired.workload.restart, before) else None
    return _towards(desired.workload, desired.sealed, there)


def kept_container(workload: Workload, containers: Sequence[Observed]) -> Observed | None:
    """The container that stands for the workload: one made from it, one that runs before any other."""
    wanted = spec_hash(workload)
    gone = {Status.DEAD, Status.REMOVING}
    fitting = [container for container in containers if container.spec == wanted and container.status not in gone]
    return max(fitting, key=lambda container: (LIFE.get(container.status, 0), container.id), default=None)


PREVIOUS = ".previous."
"""In the name of a container that was stopped for its replacement: this much must survive the agent."""
LIFE = {Status.RUNNING: 2, Status.RESTARTING: 1, Status.PAUSED: 1}


def _towards(workload: Container, sealed: Sealed | None, containers: Sequence[Observed]) -> Action | None:
    kept = kept_container(workload, containers)
    rest = [container for container in containers if container is not kept]
    others = tuple(container.id for container in rest)
    if kept is None:
        before = previous_container(rest, spec_hash(workload))
        return Run(workload, others, before, sealed, meanwhile=resumed(rest, before))
    if must_start(workload.restart, kept):
        return Start(kept.id, others, previous_container(rest, kept.spec), workload, workload.update, sealed)
    if not on_trial(workload, kept, rest):
        return Remove(others) if others else None
    before, deadline = previous_container(rest, kept.spec), workload.update.deadline
    if deadline and kept.age >= deadline:
        return RollBack((kept.id,), ((before, ""),), f"it was not well within {deadline} s{detail(kept)}")
    surplus = tuple(other for other in others if other != before)
    return Remove(surplus) if surplus else None


def on_trial(workload: Container, kept: Observed, rest: Sequence[Observed]) -> bool:
    """Whether the container that stands for the workload is not well yet, and the one before is kept for that long."""
    tried = workload.update != Update()
    return tried and bool(previous_container(rest, kept.spec)) and not is_well(workload.restart, kept)


def trial_ends_in(desired: Deployment, containers: Sequence[Observed]) -> float:
    """Seconds until a trial must be checked again; infinite without a trial."""
    if desired.workload is None or isinstance(desired.workload, SentPod):
        return math.inf
    kept = kept_container(desired.workload, containers)
    if kept is None:
        return math.inf
    if not on_trial(desired.workload, kept, [container for container in containers if container is not kept]):
        return math.inf
    left = desired.workload.update.deadline - kept.age
    return min(delay for delay in (left, kept.steady_in, math.inf) if delay > 0)


def is_well(restart: Restart, container: Observed) -> bool:
    """Whether its health check passes; without one, whether it has run for ten seconds, or ended as it should."""
    if container.status is Status.EXITED:
        return container.exit_code == 0 and restart in {Restart.NO, Restart.ON_FAILURE}
    if container.status is not Status.RUNNING or container.health in {"starting", "unhealthy"}:
        return False
    return container.health == "healthy" or container.steady_in == 0


def detail(container: Observed) -> str:
    """What is to be said of a container that is not well."""
    if container.health == "unhealthy":
        return f": its health check says: {container.health_output}" if container.health_output else ": it is unhealthy"
    if container.status is not Status.RUNNING or container.restarts:
        return f": exit code {container.exit_code}, restarted {container.restarts} times"
    return ""


def previous_container(containers: Sequence[Observed], wanted: str) -> str:
    """What runs, or ran until a power cut, or until it was stopped for its replacement; empty for nothing.

    A second container of the specification that is wanted is no way back.
    """
    lived = [container for container in containers if container.spec != wanted and has_lived(container)]
    return max(lived, key=_rank).id if lived else ""


def has_lived(container: Observed) -> bool:
    """Whether it runs, or may run again."""
    return container.status in LIFE or container.resumes or PREVIOUS in container.name


def liveliness(container: Observed) -> tuple[int, bool, bool, str]:
    """Sorts last what to continue with after a rollback: not what was refused and could not be removed."""
    return LIFE.get(container.status, 0), container.resumes, has_lived(container), container.id


def _rank(container: Observed) -> tuple[int, bool, str]:
    return LIFE.get(container.status, 0), PREVIOUS in container.name, container.id


def resumed(containers: Sequence[Observed], previous: str) -> str:
    """The previous container if it does not run: it is to run until its replacement can; else empty."""
    stopped = {container.id for container in containers if container.status not in LIFE}
    return previous if previous in stopped else ""


def must_start(restart: Restart, container: Observed) -> bool:
    """Whether a container that is as it should be has to be started by us."""
    if container.status is Status.CREATED:
        return True
    if container.status is not Status.EXITED:
        return False
    # The engine restarts by the policy; exited containers are left by a reboot, a failed restart or a foreign stop.
    if restart is Restart.ON_FAILURE:
        return container.exit_code != 0
    return restart in {Restart.ALWAYS, Restart.UNLESS_STOPPED}
