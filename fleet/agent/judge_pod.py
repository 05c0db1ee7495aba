"""What to report of a pod: the worst that is to be said of one of its containers, with its name. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fleet.agent.desired_state import Deployment
from fleet.agent.judge import Verdict, failed, pulled_again, seen, state
from fleet.agent.pods import View, view
from fleet.agent.problems import Problem
from fleet.agent.reconcile import Observed, must_start
from fleet.contract.wire import ContainerState, DeviceState, Phase, Reason

_WORST_FIRST = (Phase.FAILED, Phase.UNHEALTHY, Phase.RESTARTING, Phase.PENDING, Phase.RUNNING)
_WELL_FIRST = (Reason.STARTED, Reason.HEALTHY, Reason.COMPLETED)
"""What is said of a pod whose containers are all well: what the fewest words are to be said of."""


def judge_pod(
    desired: Deployment,
    containers: Sequence[Observed],
    *,
    busy: Mapping[str, tuple[Reason, str]],
    failures: Mapping[str, Problem],
    failure: Problem | None,
    unsaved: str,
) -> DeviceState:
    """The report of a deployment of several containers.

    Args:
        desired: The deployment as it is ordered.
        containers: The deployment's own containers.
        busy: What the agent is doing now, and how far it is, by container.
        failures: Why the last attempt failed, by container.
        failure: Why it failed as a whole.
        unsaved: Why the desired state is not on disk.
    """
    problem = desired.problem or failure
    now = view(desired.workload, containers) if desired.workload else None
    shown = _shown(now, containers)
    if now is None:
        return state(desired, failed(problem) if problem else (Phase.PENDING, Reason.STARTING, ""), shown, unsaved)
    verdicts = {name: _of(now, name, busy.get(name), failures.get(name)) for name in now.wanted}
    each = tuple(ContainerState(name, phase, reason) for name, (phase, reason, _) in verdicts.items() if name)
    if problem is not None:
        return msgspec.structs.replace(state(desired, failed(problem), shown, unsaved), containers=each)
    verdict = _worst(verdicts)
    if verdict[0] is Phase.RUNNING and now.on_trial:
        verdict = Phase.PENDING, Reason.STARTING, "runs, and is not known to be well yet; what ran before is kept"
    base = state(desired, verdict, shown, unsaved)
    restarts = sum(container.restarts for container in now.kept.values())
    return msgspec.structs.replace(base, restarts=restarts, containers=each)


def gone_back(back: Problem, failures: Mapping[str, Problem]) -> Problem:
    """What is to be said of an order that was rolled back, and of containers before it that fail, by their names."""
    if not failures:
        return back
    name, failure = min(failures.items())
    return Problem(failure.reason, f"{name}: {failure.message}; the device had gone back to it: {back.message}")


def _of(now: View, name: str, busy: tuple[Reason, str] | None, failure: Problem | None) -> Verdict:
    if failure is not None:
        return pulled_again(busy, failure) or failed(failure)
    kept, restart = now.kept.get(name), now.wanted[name].restart
    if busy is not None:
        return Phase.PENDING, *busy
    if kept is None:
        return Phase.PENDING, Reason.STARTING, ""
    if must_start(restart, kept) and (needed := now.waits_for(name)):
        return Phase.PENDING, Reason.STARTING, f"waits until {needed.name} is {needed.condition.value}"
    return seen(restart, kept)


def _worst(verdicts: Mapping[str, Verdict]) -> Verdict:
    name, (phase, reason, message) = min(verdicts.items(), key=lambda item: _order(item[1]))
    if phase is Phase.RUNNING:
        return (
            phase,
            next((first for first in _WELL_FIRST if any(verdict[1] is first for verdict in verdicts.values())), reason),
            "",
        )
    return phase, reason, f"{name}: {message}" if message else name


def _order(verdict: Verdict) -> tuple[int, bool, bool]:
    """The worst phase first; then a pull before a start, then a verdict with a message."""
    phase, reason, message = verdict
    return _WORST_FIRST.index(phase), reason is Reason.STARTING, not message


def _shown(now: View | None, containers: Sequence[Observed]) -> Observed | None:
    """The container whose image stands for the deployment's: the last one to start, which the others are there for."""
    kept = list(now.kept.values()) if now else []
    return kept[-1] if kept else next(iter(containers), None)
