"""What to report of a deployment: a pure judgement over the wish, its container and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.agent.reconcile import Observed, Status, keeper
from fleet.agent.wishes import Problem, Wish
from fleet.contract.wire import DeviceState, Phase, Reason, Restart

CRASHES = 3
"""Restarts after which an unstable container counts as a crash loop."""

Verdict = tuple[Phase, Reason, str]


def judge(
    wish: Wish,
    containers: Sequence[Observed],
    *,
    busy: Reason | None = None,
    failure: Problem | None = None,
    unsaved: str = "",
) -> DeviceState:
    """The report of one deployment.

    Args:
        wish: What is wanted.
        containers: The deployment's own containers.
        busy: What the agent is doing about it now.
        failure: Why the last attempt failed.
        unsaved: Why the desired state is not on disk.
    """
    kept = keeper(wish.workload, containers) if wish.workload else None
    shown = kept or (containers[0] if containers else None)
    phase, reason, message = _verdict(wish, kept, busy, failure)
    if phase is Phase.RUNNING and unsaved:
        reason, message = Reason.STATE_NOT_SAVED, f"runs, but would be lost by a reboot without network: {unsaved}"
    return DeviceState(
        generation=wish.generation,
        phase=phase,
        reason=reason,
        message=Problem(reason, message).message,
        container_id=shown.id if shown else "",
        restarts=shown.restarts if shown else 0,
    )


def _verdict(wish: Wish, kept: Observed | None, busy: Reason | None, failure: Problem | None) -> Verdict:
    problem = wish.problem or failure
    if problem is not None:
        return Phase.FAILED, problem.reason, problem.message
    if busy is not None:
        return Phase.PENDING, busy, ""
    if kept is None or wish.workload is None:
        return Phase.PENDING, Reason.STARTING, ""
    if kept.unclear:
        return Phase.FAILED, Reason.ENGINE_ERROR, f"the engine does not show the container: {kept.unclear}"
    return _seen(wish.workload.restart, kept)


def _seen(restart: Restart, container: Observed) -> Verdict:
    match container.status:
        case Status.RUNNING if container.restarts >= CRASHES and container.steady_in > 0:
            return Phase.RESTARTING, Reason.CRASH_LOOP, f"restarted {container.restarts} times"
        case Status.RUNNING:
            return _running(container)
        case Status.RESTARTING:
            looping = container.restarts >= CRASHES
            return Phase.RESTARTING, Reason.CRASH_LOOP if looping else Reason.EXITED, _exit(container)
        case Status.PAUSED:
            return Phase.UNHEALTHY, Reason.ENGINE_ERROR, "paused by somebody on the device"
        case Status.EXITED:
            return _exited(restart, container)
        case _:
            return Phase.PENDING, Reason.STARTING, container.error


def _running(container: Observed) -> Verdict:
    match container.health:
        case "healthy":
            return Phase.RUNNING, Reason.HEALTHY, ""
        case "unhealthy":
            return Phase.UNHEALTHY, Reason.HEALTH_CHECK_FAILED, container.health_output
        case "starting":
            return Phase.PENDING, Reason.STARTING, "waiting for the first health check that passes"
        case _:
            return Phase.RUNNING, Reason.STARTED, ""


def _exited(restart: Restart, container: Observed) -> Verdict:
    if restart in {Restart.NO, Restart.ON_FAILURE} and container.exit_code == 0:
        return Phase.RUNNING, Reason.COMPLETED, _exit(container)
    if restart is Restart.NO:
        return Phase.FAILED, Reason.EXITED, _exit(container)
    return Phase.PENDING, Reason.STARTING, _exit(container)


def _exit(container: Observed) -> str:
    cause = " (out of memory)" if container.out_of_memory else ""
    detail = f": {container.error}" if container.error else ""
    return f"exit code {container.exit_code}{cause}{detail}"
