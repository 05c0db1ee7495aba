"""An update that is not well gives way to what ran before, which is kept for that long; and the reason stays."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fleet.agent.desired_state import Deployment
from fleet.agent.reconcile import PREVIOUS, Observed, Remove, RollBack, Run, Start, Status, next_action, trial_ends_in
from fleet.agent.rollbacks import Rollbacks
from fleet.contract.confinement import Update, UpdateOrder
from fleet.contract.containers import spec_hash
from fleet.contract.pod import as_sent
from fleet.contract.wire import Container, Health, Phase, Reason, Restart
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage

TRIED = Update(deadline=30)
NEXT = Container(image="green:1", update=TRIED)


def container(wanted: Container, status: Status = Status.RUNNING, **more: object) -> Observed:
    name = "fleet-pi-web" if wanted is NEXT else f"fleet-pi-web{PREVIOUS}1"
    known = Observed(id=wanted.image, deployment="web", spec=spec_hash(wanted), status=status, name=name)
    return msgspec.structs.replace(known, **more)


BEFORE = container(Container(image="blue:1"), Status.EXITED)


@pytest.mark.parametrize(
    ("new", "then"),
    [
        (container(NEXT, health="starting", age=29), None),
        (container(NEXT, health="unhealthy", age=29), None),
        (container(NEXT, steady_in=3, age=29), None),
        (container(NEXT, Status.RESTARTING, age=29), None),
        (container(NEXT, health="healthy", age=1), Remove(("blue:1",))),
        (container(NEXT, age=10), Remove(("blue:1",))),
        (container(NEXT, health="healthy", age=99), Remove(("blue:1",))),
    ],
)
def test_what_ran_before_is_kept_until_the_new_one_is_well(new: Observed, then: Remove | None) -> None:
    assert next_action(Deployment(1, NEXT), [new, BEFORE]) == then
    assert next_action(Deployment(1, NEXT), [new]) is None


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (container(NEXT, health="starting", age=30), ""),
        (container(NEXT, health="unhealthy", health_output="no disk", age=31), "no disk"),
        (container(NEXT, Status.RESTARTING, exit_code=3, restarts=4, age=30), "exit code 3, restarted 4 times"),
        (container(NEXT, steady_in=3, restarts=1, age=30), "restarted 1 times"),
    ],
)
def test_at_its_deadline_it_gives_way(new: Observed, why: str) -> None:
    found = next_action(Deployment(1, NEXT), [new, BEFORE])
    assert isinstance(found, RollBack)
    assert (found.containers, found.back_to) == (("green:1",), (("blue:1", ""),))
    assert found.why.startswith("it was not well within 30 s")
    assert why in found.why
    assert next_action(Deployment(1, NEXT), [new]) is None, "there is nothing to go back to"


def test_after_a_return_what_ran_before_goes_on() -> None:
    desired = Deployment(1, NEXT)
    assert isinstance(next_action(desired, [container(Container(image="blue:1"))]), Run)
    assert next_action(desired, [container(Container(image="blue:1"))], rolled_back=True) is None
    assert next_action(desired, [BEFORE], rolled_back=True) == Start("blue:1")
    assert isinstance(next_action(desired, [], rolled_back=True), Run)


def test_after_a_return_what_was_refused_and_could_not_be_removed_does_not_start() -> None:
    """Whatever the order of the ids: the previous container is what the engine would start again after a reboot."""
    ended = Observed("blue:1", "web", "of before", Status.EXITED, name="fleet-pi-web", resumes=True)
    refused = msgspec.structs.replace(container(NEXT, Status.CREATED), id="z")
    assert next_action(Deployment(1, NEXT), [ended, refused], rolled_back=True) == Start("blue:1")


def test_what_a_power_cut_ended_is_what_ran_before() -> None:
    ended = Observed("blue:1", "web", "of before", Status.EXITED, name="fleet-pi-web", resumes=True)
    found = next_action(Deployment(1, NEXT), [ended])
    assert isinstance(found, Run)
    assert (found.back_to, found.meanwhile) == ("blue:1", "blue:1")
    done = next_action(Deployment(1, NEXT), [msgspec.structs.replace(ended, resumes=False)])
    assert isinstance(done, Run)
    assert (done.back_to, done.meanwhile) == ("", ""), "it had come to its own end"
    aside = msgspec.structs.replace(ended, id="amber:1", name=f"fleet-pi-web{PREVIOUS}1", resumes=False)
    found = next_action(Deployment(1, NEXT), [ended, aside])
    assert isinstance(found, Run)
    assert found.back_to == "amber:1", "what was set aside was well before what took its place"


def test_the_agent_looks_again_when_a_trial_is_due() -> None:
    assert trial_ends_in(Deployment(1, NEXT), [container(NEXT, health="starting", age=10), BEFORE]) == 20
    assert trial_ends_in(Deployment(1, NEXT), [container(NEXT, steady_in=4, age=1), BEFORE]) == 4
    assert trial_ends_in(Deployment(1, NEXT), [container(NEXT)]) == float("inf")


def test_a_second_container_of_the_same_kind_is_no_way_back() -> None:
    paused = container(NEXT, Status.PAUSED)
    another = msgspec.structs.replace(paused, id="another")
    assert next_action(Deployment(1, NEXT), [paused, another]) == Remove(("another",))
    assert trial_ends_in(Deployment(1, NEXT), [paused, another]) == float("inf")
    created = msgspec.structs.replace(paused, status=Status.CREATED)
    assert next_action(Deployment(1, NEXT), [created, msgspec.structs.replace(created, id="another")]) == Start(
        "green:1", ("another",), "", NEXT, TRIED
    )


def test_how_a_container_comes_is_not_what_it_is() -> None:
    """Another deadline replaces no container."""
    plain = Container(image="green:1")
    assert spec_hash(as_sent(NEXT)) == spec_hash(NEXT) == spec_hash(plain)


@pytest.mark.parametrize("order", list(UpdateOrder))
def test_an_update_that_is_not_well_is_taken_back(stage: Stage, order: UpdateOrder) -> None:
    """The reason is kept, also by an agent that starts anew; another order is tried. StartFirst stops nothing."""
    check = Health(command=("false",), interval=0.2, retries=1)
    ill = Container(
        image=IMAGE, command=("sleep", "2000000"), health=check, restart=Restart.ALWAYS, update=Update(order, 2)
    )
    good = msgspec.structs.replace(ill, health=Health(command=("true",), interval=0.2))

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, within=20)
            before = (await stage.containers())["web"]
            await stage.deploy("web", as_sent(ill), generation=2)
            state = await stage.until("web", Phase.FAILED, Reason.WENT_BACK, generation=2, within=30)
            assert "not well within 2 s" in state.message
            after = (await stage.containers())["web"]
            assert (after.id, after.name, after.state.status) == (before.id, before.name, "running")
            if order is UpdateOrder.START_FIRST:
                assert after.state.started_at == before.state.started_at
        async with stage.agent():
            await stage.deploy("other", STAYS)
            await stage.until("other", Phase.RUNNING, Reason.STARTED, within=20)
            await stage.until("web", Phase.FAILED, Reason.WENT_BACK, generation=2, within=20)
            assert (await stage.containers())["web"].id == before.id
            await stage.deploy("web", as_sent(good), generation=3)
            await stage.until("web", Phase.RUNNING, Reason.HEALTHY, generation=3, within=30)

            async def ids() -> list[str]:
                return [one["Id"] for one in stage.raw.call("GET", "/containers/json", params={"all": "1"}).json()]

            await stage.eventually(ids, lambda found: before.id not in found, "what ran before is gone", within=20)

    stage.play(body)


def test_a_record_is_of_one_order(tmp_path: Path) -> None:
    path = tmp_path / "returned.json"
    Rollbacks(path).add("web", Deployment(2, NEXT), "it was ill")
    found = Rollbacks(path).problem("web", Deployment(2, NEXT))
    assert found is not None
    assert (found.reason, found.message) == (Reason.WENT_BACK, "it was ill")
    assert Rollbacks(path).problem("web", Deployment(2, None)) is None
    assert Rollbacks(path).problem("web", Deployment(2, NEXT)) is not None
    assert Rollbacks(path).problem("web", Deployment(3, NEXT)) is None
    assert Rollbacks(path).problem("web", Deployment(2, NEXT)) is None, "it was forgotten"
