"""What is reported of a deployment, from what is seen."""

from __future__ import annotations

import pytest

from fleet.agent.judge import judge
from fleet.agent.reconcile import Observed, Status
from fleet.agent.wishes import Problem, Wish
from fleet.contract.containers import spec_hash
from fleet.contract.wire import Container, Phase, Reason, Restart

FOREVER = Container(image="blue:1")
ONCE = Container(image="blue:1", restart=Restart.NO)


def seen(workload: Container = FOREVER, status: Status = Status.RUNNING, **more: str | int | float | bool) -> Observed:
    return Observed(id="c1", deployment="web", spec=spec_hash(workload), status=status, **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("workload", "container", "phase", "reason"),
    [
        (FOREVER, seen(), Phase.RUNNING, Reason.STARTED),
        (FOREVER, seen(health="starting"), Phase.PENDING, Reason.STARTING),
        (FOREVER, seen(health="healthy"), Phase.RUNNING, Reason.HEALTHY),
        (FOREVER, seen(health="unhealthy"), Phase.UNHEALTHY, Reason.HEALTH_CHECK_FAILED),
        (FOREVER, seen(restarts=2, steady_in=3.0), Phase.RUNNING, Reason.STARTED),
        (FOREVER, seen(restarts=3, steady_in=3.0), Phase.RESTARTING, Reason.CRASH_LOOP),
        (FOREVER, seen(restarts=3, steady_in=0.0), Phase.RUNNING, Reason.STARTED),
        (FOREVER, seen(status=Status.RESTARTING, restarts=1), Phase.RESTARTING, Reason.EXITED),
        (FOREVER, seen(status=Status.RESTARTING, restarts=3), Phase.RESTARTING, Reason.CRASH_LOOP),
        (FOREVER, seen(status=Status.CREATED), Phase.PENDING, Reason.STARTING),
        (FOREVER, seen(status=Status.PAUSED), Phase.UNHEALTHY, Reason.ENGINE_ERROR),
        (FOREVER, seen(status=Status.EXITED), Phase.PENDING, Reason.STARTING),
        (ONCE, seen(ONCE, Status.EXITED), Phase.RUNNING, Reason.COMPLETED),
        (ONCE, seen(ONCE, Status.EXITED, exit_code=3), Phase.FAILED, Reason.EXITED),
    ],
)
def test_what_is_seen_is_reported(workload: Container, container: Observed, phase: Phase, reason: Reason) -> None:
    state = judge(Wish(4, workload), [container])
    assert (state.generation, state.phase, state.reason, state.container_id) == (4, phase, reason, "c1")


def test_the_exit_is_told() -> None:
    container = seen(status=Status.RESTARTING, restarts=3, exit_code=137, out_of_memory=True)
    assert judge(Wish(1, FOREVER), [container]).message == "exit code 137 (out of memory)"


def test_a_problem_of_the_wish_comes_first_and_names_what_still_runs() -> None:
    wish = Wish(2, FOREVER, Problem(Reason.INVALID_DESIRED_STATE, "bad"))
    state = judge(wish, [seen()], busy=Reason.PULLING, failure=Problem(Reason.PORT_IN_USE, "taken"))
    assert (state.phase, state.reason, state.container_id) == (Phase.FAILED, Reason.INVALID_DESIRED_STATE, "c1")


def test_a_failed_attempt_is_reported_until_it_is_over() -> None:
    state = judge(Wish(2, FOREVER), [], failure=Problem(Reason.PORT_IN_USE, "taken"))
    assert (state.phase, state.reason, state.message) == (Phase.FAILED, Reason.PORT_IN_USE, "taken")


def test_work_under_way_is_pending_though_the_old_container_runs() -> None:
    old = seen(Container(image="green:1"))
    state = judge(Wish(2, FOREVER), [old], busy=Reason.PULLING)
    assert (state.phase, state.reason, state.container_id) == (Phase.PENDING, Reason.PULLING, "c1")


def test_an_unsaved_wish_is_told_only_of_what_runs() -> None:
    assert judge(Wish(1, FOREVER), [seen()], unsaved="disk full").reason is Reason.STATE_NOT_SAVED
    assert judge(Wish(1, FOREVER), [], unsaved="disk full").reason is Reason.STARTING


def test_a_message_is_cut() -> None:
    state = judge(Wish(1, FOREVER), [seen(health="unhealthy", health_output="x" * 10_000)])
    assert len(state.message) == 500
    assert state.message.endswith("...")
