"""What to report of a deployment: a pure decision from its desired state, its container and its errors."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.agent.desired_state import Deployment
from fleet.agent.problems import Problem, Waits
from fleet.agent.reconcile import Observed, Status, kept_container, on_trial
from fleet.contract.wire import Container, DeviceState, Phase, Reason, Restart

CRASHES = 3
"""Restarts after which an unstable container counts as a crash loop."""

Verdict = tuple[Phase, Reason, str]


def judge(
    desired: Deployment,
    containers: Sequence[Observed],
    *,
    busy: tuple[Reason, str] | None = None,
    failure: Problem | None = None,
    unsaved: str = "",
) -> DeviceState:
    """The report of one deployment.

    Args:
        desired: The deployment as it is ordered.
        containers: The deployment's own containers.
        busy: What the agent is doing about it now, and how far it is in words.
        failure: Why the last attempt failed.
        unsaved: Why the desired state is not on disk.
    """
    kept = kept_container(desired.workload, containers) if desired.workload else None
    shown = kept or (containers[0] if containers else None)
    return state(desired, _verdict(desired, kept, containers, busy, failure), shown, unsaved)


def state(desired: Deployment, verdict: Verdict, shown: Observed | None, unsaved: str) -> DeviceState:
    """A verdict as it is reported, with what is `shown` of a container."""
    phase, reason, message = verdict
    if phase is Phase.RUNNING and unsaved:
        reason, message = Reason.STATE_NOT_SAVED, f"runs, but would be lost by a reboot without network: {unsaved}"
    return DeviceState(
        generation=desired.generation,
        phase=phase,
        reason=reason,
        message=Problem(reason, message).message,
        container_id=shown.id if shown else "",
        restarts=shown.restarts if shown else 0,
        image_id=shown.image_id if shown else "",
        image_digests=shown.image_digests if shown else (),
        secrets=desired.secrets,
    )


def _verdict(
    desired: Deployment,
    kept: Observed | None,
    containers: Sequence[Observed],
    busy: tuple[Reason, str] | None,
    failure: Problem | None,
) -> Verdict:
    problem = desired.problem or failure
    if desired.problem is None and (again := pulled_again(busy, failure)) is not None:
        return again
    if problem is not None:
        return failed(problem)
    if busy is not None:
        return Phase.PENDING, *busy
    if kept is None or not isinstance(desired.workload, Container):
        return Phase.PENDING, Reason.STARTING, ""
    verdict = seen(desired.workload.restart, kept)
    others = [container for container in containers if container is not kept]
    if verdict[0] is Phase.RUNNING and on_trial(desired.workload, kept, others):
        return Phase.PENDING, Reason.STARTING, "runs, and is not known to be well yet; the container before is kept"
    return verdict


def pulled_again(busy: tuple[Reason, str] | None, failure: Problem | None) -> Verdict | None:
    """The verdict while a pull that failed is tried again, and it has a message of its own; both are reported."""
    if failure is None or busy is None or busy[0] is not Reason.PULLING or not busy[1]:
        return None
    return Phase.PENDING, Reason.PULLING, f"{busy[1]}; the try before failed: {failure.message}"


def failed(problem: Problem) -> Verdict:
    """What a problem comes to: one that passes by itself is waited for."""
    phase = Phase.PENDING if isinstance(problem, Waits) else Phase.FAILED
    return phase, problem.reason, problem.message


def seen(restart: Restart, container: Observed) -> Verdict:
    """What a container's state comes to, by itself."""
    match container.status:
        case _ if container.unclear:
            return Phase.FAILED, Reason.ENGINE_ERROR, f"the engine does not show the container: {container.unclear}"
        case Status.RUNNING if container.restarts >= CRASHES and container.steady_in > 0:
            return Phase.RESTARTING, Reason.CRASH_LOOP, f"restarted {container.restarts} times{_foreign(container)}"
        case Status.RUNNING:
            return _running(container)
        case Status.RESTARTING:
            looping = container.restarts >= CRASHES
            return Phase.RESTARTING, Reason.CRASH_LOOP if looping else Reason.EXITED, _exit(container)
        case Status.PAUSED:
            return Phase.UNHEALTHY, Reason.ENGINE_ERROR, "paused by somebody on the device"
        case _:
            return _at_rest(restart, container)


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


def _at_rest(restart: Restart, container: Observed) -> Verdict:
    if container.status is not Status.EXITED:
        return Phase.PENDING, Reason.STARTING, container.error
    if restart in {Restart.NO, Restart.ON_FAILURE} and container.exit_code == 0:
        return Phase.RUNNING, Reason.COMPLETED, _exit(container)
    if restart is Restart.NO:
        return Phase.FAILED, Reason.EXITED, _exit(container)
    return Phase.PENDING, Reason.STARTING, _exit(container)


def _exit(container: Observed) -> str:
    cause = " (out of memory)" if container.out_of_memory else ""
    detail = f": {container.error}" if container.error else ""
    return f"exit code {container.exit_code}{cause}{detail}{_foreign(container) if container.exit_code else ''}"


def _foreign(container: Observed) -> str:
    return f"; {container.foreign}" if container.foreign else ""
