"""The pure decision: what must happen, and above all what must not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.agent.desired_state import Deployment, DesiredState
from fleet.agent.problems import Problem
from fleet.agent.reconcile import Action, Observed, Remove, RollBack, Run, Start, Status, plan
from fleet.contract.confinement import Update, UpdateOrder
from fleet.contract.containers import spec_hash
from fleet.contract.wire import Container, Reason, Restart

BLUE, GREEN = Container(image="blue:1"), Container(image="green:1")
NAMES = st.sampled_from(["web", "db", "job"])
RESTARTS = st.sampled_from(list(Restart))


def seen(
    name: str, workload: Container, status: Status = Status.RUNNING, number: str = "1", exit_code: int = 0
) -> Observed:
    return Observed(
        id=f"{name}-{number}", deployment=name, spec=spec_hash(workload), status=status, exit_code=exit_code
    )


@st.composite
def workloads(draw: st.DrawFn) -> Container:
    update = draw(st.sampled_from([Update(), Update(deadline=5), Update(UpdateOrder.START_FIRST)]))
    return Container(image=draw(st.sampled_from(["blue:1", "green:1"])), restart=draw(RESTARTS), update=update)


@st.composite
def desired_state(draw: st.DrawFn) -> DesiredState:
    problem = st.none() | st.just(Problem(Reason.INVALID_DESIRED_STATE, "bad"))
    return draw(st.dictionaries(NAMES, st.builds(Deployment, st.just(1), st.none() | workloads(), problem)))


@st.composite
def worlds(draw: st.DrawFn) -> list[Observed]:
    made = draw(st.lists(st.tuples(NAMES, workloads(), st.sampled_from(list(Status)), st.integers(0, 3)), max_size=6))
    return [seen(name, work, status, str(place), code) for place, (name, work, status, code) in enumerate(made)]


def after(action: Action, name: str, world: list[Observed]) -> list[Observed]:
    """What the engine shows once the action is done."""
    match action:
        case Run():
            kept = [one for one in world if one.id not in action.instead_of]
            return [*kept, seen(name, action.workload, number=f"new{len(world)}")]
        case Start():
            return [seen_running(one) if one.id == action.container else one for one in world]
        case Remove():
            return [one for one in world if one.id not in action.containers]
        case RollBack():
            left = [one for one in world if one.id not in action.containers]
            back = {one for one, _ in action.back_to}
            return [seen_running(one) if one.id in back else one for one in left]


def older(one: Observed) -> Observed:
    """What the engine shows when the longest trial of `workloads` is over."""
    return msgspec.structs.replace(one, age=one.age + 5)


def seen_running(one: Observed) -> Observed:
    return Observed(id=one.id, deployment=one.deployment, spec=one.spec, status=Status.RUNNING)


def waits(workload: Container, containers: list[Observed]) -> bool:
    """Whether a container of the desired workload does not run yet, and another goes on until it is well."""
    (before, made) = sorted(containers, key=lambda one: one.spec == spec_hash(workload))
    return (
        (workload.update.order, workload.update.deadline) == (UpdateOrder.START_FIRST, 0)
        and (before.spec == spec_hash(workload), made.spec == spec_hash(workload)) == (False, True)
        and made.status in {Status.PAUSED, Status.RESTARTING, Status.EXITED}
    )


@given(desired_state(), worlds())
def test_actions_lead_to_the_desired_state_and_then_stop(desired_state: DesiredState, world: list[Observed]) -> None:
    world = [one for one in world if one.status is not Status.REMOVING]
    for _ in range(10):
        actions = plan(desired_state, world)
        for name, action in actions.items():
            world = after(action, name, world)
        world = [older(one) for one in world]
    assert plan(desired_state, world) == {}
    for name, desired in desired_state.items():
        if isinstance(desired.workload, Container):
            mine = [one for one in world if one.deployment == name]
            assert [one.spec for one in mine] == [spec_hash(desired.workload)] or waits(desired.workload, mine)
    assert {one.deployment for one in world} <= set(desired_state)


@given(desired_state(), worlds())
def test_a_container_that_runs_as_desired_is_never_touched(desired_state: DesiredState, world: list[Observed]) -> None:
    touched: set[str] = set()
    for action in plan(desired_state, world).values():
        match action:
            case Run():
                touched |= set(action.instead_of)
            case Start():
                touched.add(action.container)
            case Remove():
                touched |= set(action.containers)
            case RollBack():
                touched |= set(action.containers)
    for name, desired in desired_state.items():
        mine = [one for one in world if one.deployment == name]
        if desired.workload is None:
            assert not touched & {one.id for one in mine}
        elif len(mine) == 1 and mine[0].spec == spec_hash(desired.workload) and mine[0].status is Status.RUNNING:
            assert mine[0].id not in touched


@given(desired_state(), worlds())
def test_one_running_container_of_the_workload_survives_duplicates(
    desired_state: DesiredState, world: list[Observed]
) -> None:
    for name, action in plan(desired_state, world).items():
        desired = desired_state.get(name)
        if desired is None or desired.workload is None:
            continue
        good = {
            one.id
            for one in world
            if (one.deployment, one.spec, one.status) == (name, spec_hash(desired.workload), Status.RUNNING)
        }
        if good:
            assert isinstance(action, Remove)
            assert good - set(action.containers)


@pytest.mark.parametrize("other", [Status.PAUSED, Status.RESTARTING, Status.CREATED, Status.EXITED])
def test_of_two_that_fit_the_one_that_runs_stays(other: Status) -> None:
    world = [seen("web", BLUE), seen("web", BLUE, other, number="2")]
    assert plan({"web": Deployment(1, BLUE)}, world) == {"web": Remove(("web-2",))}


def test_a_change_replaces() -> None:
    assert plan({"web": Deployment(2, GREEN)}, [seen("web", BLUE)]) == {
        "web": Run(GREEN, instead_of=("web-1",), back_to="web-1")
    }


def test_a_generation_alone_changes_nothing() -> None:
    assert plan({"web": Deployment(9, BLUE)}, [seen("web", BLUE)]) == {}


def test_a_removed_deployment_goes_and_one_that_was_never_parsed_stays() -> None:
    problem = Problem(Reason.INVALID_DESIRED_STATE, "bad")
    world = [seen("web", BLUE), seen("db", BLUE)]
    assert plan({"web": Deployment(1, None, problem)}, world) == {"db": Remove(("db-1",))}


def test_the_last_good_workload_goes_on_beside_a_problem() -> None:
    problem = Problem(Reason.INVALID_DESIRED_STATE, "bad")
    assert plan({"web": Deployment(2, BLUE, problem)}, []) == {"web": Run(BLUE)}


@pytest.mark.parametrize(
    ("restart", "exit_code", "starts"),
    [
        (Restart.NO, 0, False),
        (Restart.NO, 3, False),
        (Restart.ON_FAILURE, 0, False),
        (Restart.ON_FAILURE, 3, True),
        (Restart.ALWAYS, 0, True),
        (Restart.UNLESS_STOPPED, 0, True),
        (Restart.UNLESS_STOPPED, 137, True),
    ],
)
def test_an_exited_container_is_started_as_its_policy_wants(restart: Restart, exit_code: int, starts: bool) -> None:
    workload = Container(image="blue:1", restart=restart)
    world = [seen("web", workload, Status.EXITED, exit_code=exit_code)]
    assert plan({"web": Deployment(1, workload)}, world) == (
        {"web": Start("web-1", workload=workload)} if starts else {}
    )


@pytest.mark.parametrize("status", [Status.RUNNING, Status.RESTARTING, Status.PAUSED])
def test_the_engine_is_left_to_its_own_restarts(status: Status) -> None:
    assert plan({"web": Deployment(1, BLUE)}, [seen("web", BLUE, status)]) == {}


def test_a_dead_container_is_replaced_and_one_in_removal_is_not_counted() -> None:
    assert plan({"web": Deployment(1, BLUE)}, [seen("web", BLUE, Status.DEAD)]) == {"web": Run(BLUE, ("web-1",))}
    assert plan({"web": Deployment(1, BLUE)}, [seen("web", BLUE, Status.REMOVING)]) == {"web": Run(BLUE)}
    assert plan({}, [seen("web", BLUE, Status.REMOVING)]) == {}


def test_the_hash_of_a_workload_is_the_same_for_ever() -> None:
    """It is written on running containers: another value here would restart every workload at an agent upgrade."""
    assert spec_hash(Container(image="fleet-test/busybox:1")) == "4e89c6d3c6b3800f"
    assert spec_hash(Container(image="a", command=("b",), args=("c",), env={"Z": "1", "A": "2"})) == "3c47174d70f42f96"
    assert spec_hash(Container(image="a", env={"A": "2", "Z": "1"})) == spec_hash(
        Container(image="a", env={"Z": "1", "A": "2"})
    )
