"""The pure decision: what must happen, and above all what must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.agent.reconcile import Action, Observed, Remove, Run, Start, Status, plan
from fleet.agent.wishes import Problem, Wish, Wishes
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
    return Container(image=draw(st.sampled_from(["blue:1", "green:1"])), restart=draw(RESTARTS))


@st.composite
def wishes(draw: st.DrawFn) -> Wishes:
    problem = st.none() | st.just(Problem(Reason.INVALID_DESIRED_STATE, "bad"))
    return draw(st.dictionaries(NAMES, st.builds(Wish, st.just(1), st.none() | workloads(), problem)))


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


def seen_running(one: Observed) -> Observed:
    return Observed(id=one.id, deployment=one.deployment, spec=one.spec, status=Status.RUNNING)


@given(wishes(), worlds())
def test_actions_lead_to_what_is_wished_and_then_stop(wishes: Wishes, world: list[Observed]) -> None:
    world = [one for one in world if one.status is not Status.REMOVING]
    for _ in range(10):
        actions = plan(wishes, world)
        for name, action in actions.items():
            world = after(action, name, world)
    assert plan(wishes, world) == {}
    for name, wish in wishes.items():
        if wish.workload is not None:
            assert [one.spec for one in world if one.deployment == name] == [spec_hash(wish.workload)]
    assert {one.deployment for one in world} <= set(wishes)


@given(wishes(), worlds())
def test_what_runs_as_wished_is_never_touched(wishes: Wishes, world: list[Observed]) -> None:
    touched: set[str] = set()
    for action in plan(wishes, world).values():
        match action:
            case Run():
                touched |= set(action.instead_of)
            case Start():
                touched.add(action.container)
            case Remove():
                touched |= set(action.containers)
    for name, wish in wishes.items():
        mine = [one for one in world if one.deployment == name]
        if wish.workload is None:
            assert not touched & {one.id for one in mine}
        elif len(mine) == 1 and mine[0].spec == spec_hash(wish.workload) and mine[0].status is Status.RUNNING:
            assert mine[0].id not in touched


@given(wishes(), worlds())
def test_one_running_container_of_the_wish_survives_duplicates(wishes: Wishes, world: list[Observed]) -> None:
    for name, action in plan(wishes, world).items():
        wish = wishes.get(name)
        if wish is None or wish.workload is None:
            continue
        good = {
            one.id
            for one in world
            if (one.deployment, one.spec, one.status) == (name, spec_hash(wish.workload), Status.RUNNING)
        }
        if good:
            assert isinstance(action, Remove)
            assert good - set(action.containers)


@pytest.mark.parametrize("other", [Status.PAUSED, Status.RESTARTING, Status.CREATED, Status.EXITED])
def test_of_two_that_fit_the_one_that_runs_stays(other: Status) -> None:
    world = [seen("web", BLUE), seen("web", BLUE, other, number="2")]
    assert plan({"web": Wish(1, BLUE)}, world) == {"web": Remove(("web-2",))}


def test_a_change_replaces() -> None:
    assert plan({"web": Wish(2, GREEN)}, [seen("web", BLUE)]) == {
        "web": Run(GREEN, instead_of=("web-1",), back_to="web-1")
    }


def test_a_generation_alone_changes_nothing() -> None:
    assert plan({"web": Wish(9, BLUE)}, [seen("web", BLUE)]) == {}


def test_what_is_not_wished_goes_and_what_was_never_understood_stays() -> None:
    problem = Problem(Reason.INVALID_DESIRED_STATE, "bad")
    world = [seen("web", BLUE), seen("db", BLUE)]
    assert plan({"web": Wish(1, None, problem)}, world) == {"db": Remove(("db-1",))}


def test_the_last_good_workload_goes_on_beside_a_problem() -> None:
    problem = Problem(Reason.INVALID_DESIRED_STATE, "bad")
    assert plan({"web": Wish(2, BLUE, problem)}, []) == {"web": Run(BLUE)}


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
    assert plan({"web": Wish(1, workload)}, world) == ({"web": Start("web-1")} if starts else {})


@pytest.mark.parametrize("status", [Status.RUNNING, Status.RESTARTING, Status.PAUSED])
def test_the_engine_is_left_to_its_own_restarts(status: Status) -> None:
    assert plan({"web": Wish(1, BLUE)}, [seen("web", BLUE, status)]) == {}


def test_a_dead_container_is_replaced_and_one_in_removal_is_not_counted() -> None:
    assert plan({"web": Wish(1, BLUE)}, [seen("web", BLUE, Status.DEAD)]) == {"web": Run(BLUE, ("web-1",))}
    assert plan({"web": Wish(1, BLUE)}, [seen("web", BLUE, Status.REMOVING)]) == {"web": Run(BLUE)}
    assert plan({}, [seen("web", BLUE, Status.REMOVING)]) == {}


def test_the_hash_of_a_workload_is_the_same_for_ever() -> None:
    """It is written on running containers: another value here would restart every workload at an agent upgrade."""
    assert spec_hash(Container(image="fleet-test/busybox:1")) == "4e89c6d3c6b3800f"
    assert spec_hash(Container(image="a", command=("b",), args=("c",), env={"Z": "1", "A": "2"})) == "3c47174d70f42f96"
    assert spec_hash(Container(image="a", env={"A": "2", "Z": "1"})) == spec_hash(
        Container(image="a", env={"Z": "1", "A": "2"})
    )
