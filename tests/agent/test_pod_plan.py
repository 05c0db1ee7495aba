"""What happens next about a pod, and how it stands: decided without an engine."""

from __future__ import annotations

import msgspec
import pytest

from fleet.agent.desired_state import Deployment
from fleet.agent.judge_pod import judge_pod
from fleet.agent.pods import looks_again_in, may_begin, next_actions
from fleet.agent.problems import Problem, Waits
from fleet.agent.reconcile import PREVIOUS, Action, Observed, Remove, RollBack, Run, Start, Status
from fleet.contract.confinement import Network, Update
from fleet.contract.containers import spec_hash
from fleet.contract.pod import Condition, Dependency, InitContainer, Pod, PodContainer, SentPod, as_sent, members
from fleet.contract.wire import Container, ContainerState, DeviceState, Phase, Reason, Restart, Workload

HOST = Network.HOST
DB = PodContainer(name="db", image="db:1")
WEB = PodContainer(name="web", image="web:1", depends_on=(Dependency("db", Condition.HEALTHY),))
INIT = InitContainer(name="init", image="init:1")
STACK = Pod((WEB, DB), (INIT,))


def sent(pod: Pod) -> SentPod:
    workload = as_sent(pod)
    assert isinstance(workload, SentPod)
    return workload


def desired(pod: Pod, generation: int = 1) -> Deployment:
    return Deployment(generation, sent(pod))


def seen(pod: Pod, name: str, status: Status = Status.RUNNING, **more: object) -> Observed:
    one = Observed(
        id=f"{name}-1",
        deployment="app",
        spec=spec_hash(members(sent(pod))[name]),
        status=status,
        name=f"fleet-pi-app_{name}",
        container=name,
        order=spec_hash(sent(pod)),
    )
    return msgspec.structs.replace(one, **more)


def running(pod: Pod) -> list[Observed]:
    inits = [seen(pod, one.name, Status.EXITED) for one in pod.init_containers]
    return [*inits, *(seen(pod, one.name) for one in pod.containers)]


def old(one: Observed, **more: object) -> Observed:
    return msgspec.structs.replace(one, id=f"{one.id}-old", **more)


def asides(one: Observed) -> Observed:
    return old(one, status=Status.EXITED, name=f"{one.name}{PREVIOUS}abcd")


def started(actions: dict[str, Action]) -> set[str]:
    assert all(isinstance(one, Start) for one in actions.values()), actions
    return set(actions)


def test_all_of_it_is_made_before_any_of_it_starts() -> None:
    found = next_actions("app", desired(STACK), [])
    assert set(found) == {"app/init", "app/db", "app/web"}
    assert all(isinstance(one, Run) and not one.start for one in found.values())
    created = [seen(STACK, name, Status.CREATED) for name in ("init", "db")]
    assert set(next_actions("app", desired(STACK), created)) == {"app/web"}


def test_it_starts_in_the_order_in_which_its_containers_wait() -> None:
    created = {name: seen(STACK, name, Status.CREATED) for name in ("init", "db", "web")}

    def after(**now: Observed) -> set[str]:
        return started(next_actions("app", desired(STACK), list({**created, **now}.values())))

    done = seen(STACK, "init", Status.EXITED)
    assert after() == {"app/init"}
    assert after(init=seen(STACK, "init")) == set()
    assert after(init=seen(STACK, "init", Status.EXITED, exit_code=1)) == {"app/init"}, "it is tried again"
    assert after(init=done) == {"app/db"}
    assert after(init=done, db=seen(STACK, "db", health="starting")) == set()
    assert after(init=done, db=seen(STACK, "db", steady_in=3.0)) == set()
    assert after(init=done, db=seen(STACK, "db", health="healthy")) == {"app/web"}
    assert after(init=done, db=seen(STACK, "db")) == {"app/web"}


def test_an_init_container_that_failed_for_good_is_told_and_nothing_starts() -> None:
    once = Pod((WEB, DB), (msgspec.structs.replace(INIT, restart=Restart.NO),))
    there = [
        seen(once, "init", Status.EXITED, exit_code=3),
        seen(once, "db", Status.CREATED),
        seen(once, "web", Status.CREATED),
    ]
    assert next_actions("app", desired(once), there) == {}
    state = judged(once, there)
    assert (state.phase, state.reason, state.message) == (Phase.FAILED, Reason.EXITED, "init: exit code 3")


def test_a_change_of_one_container_touches_no_other() -> None:
    pod = Pod((msgspec.structs.replace(WEB, image="web:2"), DB), (INIT,))
    found = next_actions("app", desired(pod, 2), running(STACK))
    assert set(found) == {"app/web"}
    made = [*running(STACK), seen(pod, "web", Status.CREATED, id="web-2")]
    (action,) = next_actions("app", desired(pod, 2), made).values()
    assert isinstance(action, Start)
    assert (action.container, action.instead_of, action.back_to, action.aside) == ("web-2", ("web-1",), "web-1", ())
    assert next_actions("app", desired(pod, 2), [*running(STACK)[:1], seen(pod, "web"), seen(STACK, "db")]) == {}


def test_a_wait_is_no_part_of_what_a_container_is() -> None:
    pod = Pod((msgspec.structs.replace(WEB, depends_on=()), DB), (INIT,))
    assert next_actions("app", desired(pod, 2), running(STACK)) == {}


@pytest.mark.parametrize("before", ["container", "pod with another set"])
def test_what_has_no_successor_ends_only_when_all_is_made_and_runs_again_if_that_cannot_start(before: str) -> None:
    alone = Observed("old-1", "app", spec_hash(Container(image="web:0")), Status.RUNNING)
    strangers = [alone] if before == "container" else [seen(Pod((DB, WEB, PodContainer(name="x", image="x:1"))), "x")]
    assert all(
        isinstance(one, Run) and not one.start for one in next_actions("app", desired(STACK), strangers).values()
    )
    made = [seen(STACK, "init", Status.CREATED), seen(STACK, "db", Status.CREATED), seen(STACK, "web", Status.CREATED)]
    first = next_actions("app", desired(STACK), [*strangers, *made])
    (action,) = first.values()
    assert isinstance(action, Start)
    assert (set(first), action.aside) == ({"app/init"}, ()), "what ran before goes on beside an init container"
    made[0] = seen(STACK, "init", Status.EXITED)
    (action,) = next_actions("app", desired(STACK), [*strangers, *made]).values()
    assert isinstance(action, Start)
    assert action.aside == tuple((one.id, one.container) for one in strangers)
    left = [asides(one) for one in strangers]
    assert next_actions("app", desired(STACK), [*left, *running(STACK)]) == {
        "app": Remove(tuple(one.id for one in left))
    }


def test_one_container_takes_the_place_of_a_pod() -> None:
    alone = Deployment(2, Container(image="web:1"))
    found = next_actions("app", alone, running(STACK))
    assert {name: isinstance(one, Run) and not one.start for name, one in found.items()} == {"app": True}
    made = Observed("alone", "app", spec_hash(Container(image="web:1")), Status.CREATED)
    (action,) = next_actions("app", alone, [*running(STACK), made]).values()
    assert isinstance(action, Start)
    assert {one for one, _ in action.aside} == {"web-1", "db-1"}


TRIED = Pod((msgspec.structs.replace(WEB, image="web:2"), DB), (INIT,), Update(deadline=30))


def on_trial(**more: object) -> list[Observed]:
    kept = [seen(STACK, "init", Status.EXITED), seen(STACK, "db"), asides(seen(STACK, "web"))]
    return [*kept, msgspec.structs.replace(seen(TRIED, "web"), id="web-2", **more)]


def test_what_ran_before_is_kept_until_all_that_is_new_is_well() -> None:
    waiting = on_trial(age=5.0, steady_in=5.0)
    assert next_actions("app", desired(TRIED, 2), waiting) == {}
    assert looks_again_in(desired(TRIED, 2), waiting) == 5.0
    assert judged(TRIED, waiting).phase is Phase.PENDING
    assert next_actions("app", desired(TRIED, 2), on_trial(age=15.0)) == {"app": Remove(("web-1-old",))}


def test_at_the_deadline_what_is_new_gives_way_and_what_was_not_changed_stays() -> None:
    (action,) = next_actions(
        "app", desired(TRIED, 2), on_trial(age=31.0, health="unhealthy", health_output="503")
    ).values()
    assert isinstance(action, RollBack)
    assert (action.containers, action.back_to) == (("web-2",), (("web-1-old", "web"),))
    assert "web: its health check says: 503" in action.why
    back = [seen(STACK, "init", Status.EXITED), seen(STACK, "db"), seen(STACK, "web")]
    assert next_actions("app", desired(TRIED, 2), back, rolled_back=True) == {}
    stopped = [*back[:2], seen(STACK, "web", Status.EXITED)]
    assert next_actions("app", desired(TRIED, 2), stopped, rolled_back=True) == {
        "app/web": Start("web-1", member="web")
    }


def test_after_a_rollback_to_other_containers_each_starts_again_by_its_own_policy() -> None:
    def there(status: Status, *, resumes: bool) -> list[Observed]:
        job = PodContainer(name="job", image="job:1", restart=Restart.NO)
        other = Pod((PodContainer(name="api", image="api:1"), job))
        return [seen(other, "api", status, resumes=resumes), seen(other, "job", Status.EXITED)]

    order = desired(TRIED, 2)
    assert next_actions("app", order, there(Status.RUNNING, resumes=False), rolled_back=True) == {}
    assert next_actions("app", order, there(Status.EXITED, resumes=True), rolled_back=True) == {
        "app/api": Start("api-1", member="api")
    }
    single = [Observed("alone", "app", "of before", Status.EXITED, resumes=True)]
    assert next_actions("app", order, single, rolled_back=True) == {"app": Start("alone")}


def test_a_previous_container_that_was_made_anew_and_not_started_starts() -> None:
    """Whatever the order of the ids; while the old one is there, it is acted on, and its replacement found then."""
    other = Pod((PodContainer(name="api", image="api:1"),))
    old = seen(other, "api", Status.EXITED, resumes=True)
    anew = msgspec.structs.replace(
        seen(other, "api", Status.CREATED), id="z", name=f"api{PREVIOUS}1", place=("net-2", "10.0.0.2")
    )
    order = desired(TRIED, 2)
    assert next_actions("app", order, [old, anew], rolled_back=True) == {"app/api": Start("api-1", member="api")}
    assert next_actions("app", order, [anew], rolled_back=True) == {
        "app/api": Start("z", member="api", place=anew.place)
    }
    refused = msgspec.structs.replace(anew, name="api.next.1")
    assert next_actions("app", order, [refused], rolled_back=True) == {}, "it is of an order that never ran"


def test_what_a_power_cut_ended_runs_until_its_replacement_can_and_is_the_way_back() -> None:
    ended = [
        seen(STACK, "init", Status.EXITED),
        seen(STACK, "db", Status.EXITED, resumes=True),
        seen(STACK, "web", Status.EXITED, resumes=True),
    ]
    found = next_actions("app", desired(TRIED, 2), ended)
    make, start = found["app/web"], found["app/db"]
    assert isinstance(make, Run)
    assert (make.meanwhile, make.back_to, make.start) == ("web-1", "web-1", False)
    assert isinstance(start, Start)
    assert start.container == "db-1", "what was not changed starts at once"
    done = next_actions("app", desired(TRIED, 2), [ended[0], seen(STACK, "db"), seen(STACK, "web")])["app/web"]
    assert isinstance(done, Run)
    assert done.meanwhile == "", "it runs"


def test_a_pod_is_kept_until_the_one_container_in_its_place_is_well() -> None:
    tried = Container(image="web:1", update=Update(deadline=30))
    left = [asides(seen(STACK, "web")), asides(seen(STACK, "db"))]
    alone = Observed("alone", "app", spec_hash(tried), Status.RUNNING, health="unhealthy", age=5.0)
    assert next_actions("app", Deployment(2, tried), [*left, alone]) == {}
    assert looks_again_in(Deployment(2, tried), [*left, alone]) == 25.0
    late = msgspec.structs.replace(alone, age=31.0)
    (action,) = next_actions("app", Deployment(2, tried), [*left, late]).values()
    assert isinstance(action, RollBack)
    assert (action.containers, set(action.back_to)) == (("alone",), {("web-1-old", "web"), ("db-1-old", "db")})
    well = msgspec.structs.replace(alone, health="healthy")
    assert isinstance(next_actions("app", Deployment(2, tried), [*left, well])["app"], Remove)


def test_after_a_reboot_what_ran_starts_again_in_order_whatever_cannot_be_made() -> None:
    grown = Pod((WEB, DB, PodContainer(name="lone", image="lone:1", network=HOST)), (INIT,))
    there = [seen(grown, "init", Status.EXITED), *(seen(grown, name, Status.EXITED) for name in ("db", "web"))]
    found = next_actions("app", desired(grown), there)
    assert set(found) == {"app/lone", "app/db"}
    assert isinstance(found["app/db"], Start)


def test_a_removed_pod_is_removed_as_a_whole() -> None:
    assert next_actions("app", None, running(STACK)) == {"app": Remove(("init-1", "web-1", "db-1"))}


def judged(pod: Pod, there: list[Observed], **more: object) -> DeviceState:
    given: dict[str, object] = {"busy": {}, "failures": {}, "failure": None, "unsaved": "", **more}
    return judge_pod(desired(pod), there, **given)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("there", "more", "says"),
    [
        (running(STACK), {}, (Phase.RUNNING, Reason.STARTED, "")),
        (
            [seen(STACK, "init", Status.EXITED), *(seen(STACK, one, health="healthy") for one in ("web", "db"))],
            {},
            (Phase.RUNNING, Reason.HEALTHY, ""),
        ),
        (running(STACK)[:2], {}, (Phase.PENDING, Reason.STARTING, "db")),
        (
            running(STACK),
            {"busy": {"db": (Reason.PULLING, "2 MB")}},
            (Phase.PENDING, Reason.PULLING, "db: 2 MB"),
        ),
        (
            [],
            {"failures": {"db": Problem(Reason.IMAGE_NOT_FOUND, "there is none")}},
            (Phase.FAILED, Reason.IMAGE_NOT_FOUND, "db: there is none"),
        ),
        (
            [],
            {
                "busy": {"db": (Reason.PULLING, "2 MB")},
                "failures": {"db": Problem(Reason.REGISTRY_UNAVAILABLE, "it hangs")},
            },
            (Phase.PENDING, Reason.PULLING, "db: 2 MB; the try before failed: it hangs"),
        ),
        (
            [],
            {"failures": {"db": Waits(Reason.DEVICE_MISSING, "waits for /dev/x")}},
            (Phase.PENDING, Reason.DEVICE_MISSING, "db: waits for /dev/x"),
        ),
        (
            [*running(STACK)[:2], seen(STACK, "db", health="unhealthy", health_output="no")],
            {},
            (Phase.UNHEALTHY, Reason.HEALTH_CHECK_FAILED, "db: no"),
        ),
        (
            [seen(STACK, "init", Status.EXITED), seen(STACK, "db", steady_in=9.0), seen(STACK, "web", Status.CREATED)],
            {},
            (Phase.PENDING, Reason.STARTING, "web: waits until db is Healthy"),
        ),
        (
            running(STACK),
            {"failure": Problem(Reason.WENT_BACK, "it was not well")},
            (Phase.FAILED, Reason.WENT_BACK, "it was not well"),
        ),
    ],
    ids=(
        "runs",
        "healthy",
        "not there",
        "pulls",
        "no image",
        "pulls again",
        "no device",
        "unhealthy",
        "waits",
        "went back",
    ),
)
def test_the_worst_of_its_containers_is_told_with_its_name(
    there: list[Observed], more: dict[str, object], says: tuple[Phase, Reason, str]
) -> None:
    state = judged(STACK, there, **more)
    assert (state.phase, state.reason, state.message) == says


def test_each_container_is_told_whatever_is_said_of_all() -> None:
    there = [seen(STACK, "init", Status.EXITED), seen(STACK, "db", health="unhealthy"), seen(STACK, "web")]
    each = (
        ContainerState("init", Phase.RUNNING, Reason.COMPLETED),
        ContainerState("db", Phase.UNHEALTHY, Reason.HEALTH_CHECK_FAILED),
        ContainerState("web", Phase.RUNNING, Reason.STARTED),
    )
    assert judged(STACK, there).containers == each
    assert judged(STACK, there, failure=Problem(Reason.WENT_BACK, "it was not well")).containers == each


def test_one_container_in_the_place_of_a_pod_is_none_of_its_containers() -> None:
    alone = Deployment(2, Container("web:1"))
    state = judge_pod(alone, running(STACK), busy={}, failures={}, failure=None, unsaved="")
    assert state.containers == ()


def test_a_pod_of_jobs_is_completed() -> None:
    jobs = Pod(tuple(PodContainer(name=name, image="job:1", restart=Restart.NO) for name in ("a", "b")))
    state = judged(jobs, [seen(jobs, name, Status.EXITED) for name in ("a", "b")])
    assert (state.phase, state.reason) == (Phase.RUNNING, Reason.COMPLETED)
    assert next_actions("app", desired(jobs), [seen(jobs, name, Status.EXITED) for name in ("a", "b")]) == {}


def test_a_workload_that_nobody_understood_leaves_a_pod_as_it_is() -> None:
    unread: Workload | None = None
    assert (
        next_actions("app", Deployment(2, unread, Problem(Reason.UNSUPPORTED_WORKLOAD, "newer")), running(STACK)) == {}
    )


def test_what_has_the_address_of_another_ends_before_that_starts() -> None:
    grown = Pod((WEB, DB, PodContainer(name="app", image="app:1")), (INIT,))
    before = [seen(STACK, "db", place=("n", "10.1.2.2")), seen(STACK, "web", place=("n", "10.1.2.4"))]
    places = {"app": "10.1.2.2", "db": "10.1.2.3", "init": "10.1.2.4", "web": "10.1.2.5"}
    made = [seen(grown, name, Status.CREATED, id=f"{name}-2", place=("n", one)) for name, one in places.items()]
    (action,) = next_actions("app", desired(grown, 2), [*before, *made]).values()
    assert isinstance(action, Start)
    assert (action.container, action.aside) == ("init-2", (("web-1", "web"),)), "an init container needs its own, too"


def test_what_ends_another_container_is_alone_in_its_deployment_for_that_one_may_be_another_actions() -> None:
    plain = Start("db-2", ("db-1",), "db-1", member="db")
    ends_db = Start("web-2", ("web-1",), "web-1", aside=(("db-1", "db"),), member="web")
    assert may_begin("app/db", plain, {"app/web": Start("web-2", member="web"), "job": ends_db})
    assert not may_begin("app/web", ends_db, {"app/db": plain})
    assert not may_begin("app/db", plain, {"app/web": ends_db})
    assert not may_begin("app/db", plain, {"app/db": plain})
    assert not may_begin("app", Remove(("db-1",)), {"app/db": plain})
    assert not may_begin("app/db", plain, {"app": Remove(("db-1",))})
    assert may_begin("app/web", ends_db, {"job/db": plain})
