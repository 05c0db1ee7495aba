"""What is reported of a deployment, from what is seen."""

from __future__ import annotations

import pytest

from fleet.agent.desired_state import Deployment
from fleet.agent.judge import judge
from fleet.agent.problems import Problem
from fleet.agent.reconcile import Observed, Status
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
    state = judge(Deployment(4, workload), [container])
    assert (state.generation, state.phase, state.reason, state.container_id) == (4, phase, reason, "c1")


def test_what_still_runs_tells_its_image_also_when_another_one_is_wanted() -> None:
    running = seen(image_id="sha256:1", image_digests=("sha256:2",))  # pyright: ignore[reportArgumentType]
    absent = Problem(Reason.IMAGE_NOT_FOUND, "no such image")
    for wanted in (FOREVER, Container(image="blue:2")):
        state = judge(Deployment(2, wanted), [running], failure=absent)
        assert (state.image_id, state.image_digests) == ("sha256:1", ("sha256:2",))


def test_the_exit_is_told() -> None:
    container = seen(status=Status.RESTARTING, restarts=3, exit_code=137, out_of_memory=True)
    assert judge(Deployment(1, FOREVER), [container]).message == "exit code 137 (out of memory)"


@pytest.mark.parametrize("restart", Restart)
def test_what_ends_with_an_image_for_another_machine_says_so(restart: Restart) -> None:
    """Only a failure: a kernel that emulates the machine runs it well."""
    foreign = "its image is made for arm64, and this device is amd64"
    workload = Container(image="blue:1", restart=restart)
    ended = seen(workload, Status.EXITED, exit_code=1, foreign=foreign)
    assert judge(Deployment(1, workload), [ended]).message == f"exit code 1; {foreign}"
    loops = seen(workload, restarts=3, steady_in=3.0, foreign=foreign)
    assert judge(Deployment(1, workload), [loops]).message == f"restarted 3 times; {foreign}"
    for well in (seen(workload, foreign=foreign), seen(ONCE, Status.EXITED, foreign=foreign)):
        assert foreign not in judge(Deployment(1, workload), [well]).message


def test_a_problem_of_the_order_comes_first_and_names_what_still_runs() -> None:
    desired = Deployment(2, FOREVER, Problem(Reason.INVALID_DESIRED_STATE, "bad"))
    state = judge(desired, [seen()], busy=(Reason.PULLING, ""), failure=Problem(Reason.PORT_IN_USE, "taken"))
    assert (state.phase, state.reason, state.container_id) == (Phase.FAILED, Reason.INVALID_DESIRED_STATE, "c1")


def test_a_failed_attempt_is_reported_until_it_is_over() -> None:
    state = judge(Deployment(2, FOREVER), [], failure=Problem(Reason.PORT_IN_USE, "taken"))
    assert (state.phase, state.reason, state.message) == (Phase.FAILED, Reason.PORT_IN_USE, "taken")


def test_work_under_way_is_pending_though_the_old_container_runs() -> None:
    old = seen(Container(image="green:1"))
    state = judge(Deployment(2, FOREVER), [old], busy=(Reason.PULLING, "fetched 1.0 of 2.0 MiB"))
    assert (state.phase, state.reason, state.container_id) == (Phase.PENDING, Reason.PULLING, "c1")


def test_a_pull_that_is_tried_again_tells_how_far_it_is_and_why_the_one_before_failed() -> None:
    """Not before there is something to tell: a registry that refuses at once would make it come and go."""
    refused = Problem(Reason.REGISTRY_UNAVAILABLE, "the registry says nothing")
    desired = Deployment(1, FOREVER)
    at_once = judge(desired, [], busy=(Reason.PULLING, ""), failure=refused)
    assert (at_once.phase, at_once.reason) == (Phase.FAILED, Reason.REGISTRY_UNAVAILABLE)
    further = judge(desired, [], busy=(Reason.PULLING, "fetched 12.0 of 48.3 MiB"), failure=refused)
    assert (further.phase, further.reason) == (Phase.PENDING, Reason.PULLING)
    assert further.message == "fetched 12.0 of 48.3 MiB; the try before failed: the registry says nothing"
    started = judge(desired, [], busy=(Reason.STARTING, ""), failure=refused)
    assert started.phase is Phase.FAILED, "only a pull tells how far it is"
    bad = Deployment(2, FOREVER, Problem(Reason.INVALID_DESIRED_STATE, "bad"))
    state = judge(bad, [], busy=(Reason.PULLING, "fetched 12.0 of 48.3 MiB"), failure=refused)
    assert state.reason is Reason.INVALID_DESIRED_STATE


def test_only_a_running_workload_is_reported_as_unsaved() -> None:
    assert judge(Deployment(1, FOREVER), [seen()], unsaved="disk full").reason is Reason.STATE_NOT_SAVED
    assert judge(Deployment(1, FOREVER), [], unsaved="disk full").reason is Reason.STARTING


def test_a_message_is_cut() -> None:
    state = judge(Deployment(1, FOREVER), [seen(health="unhealthy", health_output="x" * 10_000)])
    assert len(state.message) == 500
    assert state.message.endswith("...")
