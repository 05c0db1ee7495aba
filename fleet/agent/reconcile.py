"""Desired and observed in, actions out: what must happen so that the device runs what it should. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec

from fleet.agent.wishes import Wish, Wishes
from fleet.contract.containers import spec_hash
from fleet.contract.wire import Restart, Workload


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
    time in seconds until the present run counts as stable, 0 when it does.
    """

    id: str
    deployment: str
    spec: str
    status: Status
    name: str = ""
    unclear: str = ""
    exit_code: int = 0
    error: str = ""
    out_of_memory: bool = False
    restarts: int = 0
    health: str = ""
    health_output: str = ""
    steady_in: float = 0


class Run(msgspec.Struct, frozen=True):
    """Make a container from the workload and start it, in the place of the given ones.

    `back_to` is the one of them that runs again if the new one cannot be started.
    """

    workload: Workload
    instead_of: tuple[str, ...] = ()
    back_to: str = ""


class Start(msgspec.Struct, frozen=True):
    """Start a container that is as it should be, but does not run; as `Run` otherwise."""

    container: str
    instead_of: tuple[str, ...] = ()
    back_to: str = ""


class Remove(msgspec.Struct, frozen=True):
    """Stop and remove containers."""

    containers: tuple[str, ...]


Action = Run | Start | Remove


def plan(wishes: Wishes, observed: Sequence[Observed]) -> dict[str, Action]:
    """The next action of each deployment that needs one; see `next_action`."""
    found = by_deployment(observed)
    actions: dict[str, Action] = {}
    for name in (*wishes, *(name for name in found if name not in wishes)):
        action = next_action(wishes.get(name), found.get(name, ()))
        if action is not None:
            actions[name] = action
    return actions


def by_deployment(observed: Sequence[Observed]) -> dict[str, list[Observed]]:
    """Each deployment's containers."""
    found: dict[str, list[Observed]] = {}
    for container in observed:
        found.setdefault(container.deployment, []).append(container)
    return found


def next_action(wish: Wish | None, containers: Sequence[Observed]) -> Action | None:
    """What to do next about one deployment, given what is wished of it and its own containers; None for nothing.

    A container made from the same workload is never touched while it runs; what is not wished any more goes; a wish
    that was never understood leaves everything as it is.
    """
    there = [one for one in containers if one.status is not Status.REMOVING]
    if wish is None:
        return Remove(tuple(one.id for one in there)) if there else None
    return _towards(wish.workload, there) if wish.workload is not None else None


def keeper(workload: Workload, containers: Sequence[Observed]) -> Observed | None:
    """The container that stands for the workload: one made from it, one that runs before any other."""
    wanted = spec_hash(workload)
    fitting = [one for one in containers if one.spec == wanted and one.status not in {Status.DEAD, Status.REMOVING}]
    return max(fitting, key=lambda one: (_LIFE.get(one.status, 0), one.id), default=None)


PREVIOUS = ".previous."
"""In the name of a container that was stopped for its replacement: this much must survive the agent."""
_LIFE = {Status.RUNNING: 2, Status.RESTARTING: 1, Status.PAUSED: 1}


def _towards(workload: Workload, containers: Sequence[Observed]) -> Action | None:
    kept = keeper(workload, containers)
    rest = [one for one in containers if one is not kept]
    others = tuple(one.id for one in rest)
    if kept is None:
        return Run(workload, others, _back_to(rest))
    if _must_start(workload.restart, kept):
        return Start(kept.id, others, _back_to(rest))
    return Remove(others) if others else None


def _back_to(containers: Sequence[Observed]) -> str:
    """What runs, or ran until it was stopped for its replacement; empty for nothing."""
    lived = [one for one in containers if one.status in _LIFE or PREVIOUS in one.name]
    return max(lived, key=lambda one: (_LIFE.get(one.status, 0), one.id)).id if lived else ""


def _must_start(restart: Restart, container: Observed) -> bool:
    if container.status is Status.CREATED:
        return True
    if container.status is not Status.EXITED:
        return False
    # The engine restarts by the policy; exited containers are left by a reboot, a failed restart or a foreign stop.
    if restart is Restart.ON_FAILURE:
        return container.exit_code != 0
    return restart in {Restart.ALWAYS, Restart.UNLESS_STOPPED}
