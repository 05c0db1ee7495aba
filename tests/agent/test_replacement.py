"""Nothing that runs is destroyed before its replacement can be, and what failed goes back to what ran."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from fleet.agent.answers import Details
from fleet.agent.creation import Where
from fleet.agent.desired_state import Deployment
from fleet.agent.engine import Engine
from fleet.agent.observe import Observer
from fleet.agent.paths import AgentPaths
from fleet.agent.reconcile import plan
from fleet.agent.sealing import Sealing
from fleet.agent.workloads import Workloads
from fleet.contract.containers import container_name, spec_hash
from fleet.contract.owner import Owner
from fleet.contract.wire import Container, Phase, Reason
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage

NEXT = Container(image=IMAGE, command=("sleep", "2000000"))
BROKEN = Container(image=IMAGE, command=("no-such-program",))


async def running(stage: Stage) -> list[Details]:
    return [one for one in (await stage.containers()).values() if one.state.status == "running"]


@pytest.mark.parametrize("image", ["https://registry.example.org/team/app:1", "UPPER", "fleet-test/absent:1", "a//b"])
def test_an_image_that_cannot_be_had_takes_nothing_away(stage: Stage, image: str) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            (before,) = await running(stage)
            workload = b'{"type":"container","image":"%s"}' % image.encode()
            await stage.write("web", b'{"type":"desired","generation":2,"workload":' + workload + b"}", generation=2)
            await failed(stage)
            assert await running(stage) == [before]

    stage.play(body)


def test_what_an_engine_did_not_start_after_a_power_cut_runs_while_its_replacement_cannot_be_had(stage: Stage) -> None:
    """As podman does: the order arrived, its image did not, and the power was cut."""

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            (before,) = await running(stage)
        stage.raw.call("POST", f"/containers/{before.id}/stop", params={"t": "0"})
        assert await running(stage) == []
        async with stage.agent():
            await stage.deploy("web", Container(image="fleet-test/absent:1"), generation=2)
            await failed(stage)
            (after,) = await running(stage)
            assert after.id == before.id
            await stage.deploy("web", BROKEN, generation=3)
            state = await stage.until("web", Phase.FAILED, Reason.INVALID_DESIRED_STATE, generation=3)
            assert "what ran before runs again" in state.message

    stage.play(body)


def test_what_cannot_start_goes_back_to_what_ran_and_is_not_tried_again_at_once(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            (before,) = await running(stage)
            await stage.deploy("web", BROKEN, generation=2)
            state = await stage.until("web", Phase.FAILED, Reason.INVALID_DESIRED_STATE, generation=2)
            assert "no-such-program" in state.message
            assert "what ran before runs again" in state.message
            (after,) = await running(stage)
            assert (after.id, after.name) == (before.id, before.name)
            await stage.deploy("other", STAYS)
            await stage.until("other", Phase.RUNNING, Reason.STARTED)
            tried = [one for one in stage.logs if one["event"] == "container starts" and one["deployment"] == "web"]
            assert len(tried) == 2
            await stage.deploy("web", NEXT, generation=3)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=3)
            made = (await stage.containers())["web"]
            assert made.name == f"/{container_name(stage.device, 'web')}"

    stage.play(body)


STEPS = {
    "look for the image": ("GET", r"/images/.*/json"),
    "create": ("POST", "/containers/create"),
    "rename": ("POST", "/rename$"),
    "stop": ("POST", "/stop$"),
}


EXPECTED = {("look for the image", 200), ("stop", 404)}


@pytest.mark.parametrize(
    ("step", "status"),
    [(step, status) for step in STEPS for status in (200, 301, 404, 500, 503) if (step, status) not in EXPECTED],
)
def test_no_answer_but_the_expected_one_is_a_success(stage: Stage, step: str, status: int) -> None:
    method, path = STEPS[step]

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", STAYS)
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            (before,) = await running(stage)
            stage.plant(method=method, path=path, status=status)
            await stage.deploy("web", NEXT, generation=2)
            await failed(stage)
            assert [one.id for one in await running(stage)] == [before.id]

    stage.play(body)


async def failed(stage: Stage) -> None:
    def good(state: object) -> bool:
        return getattr(state, "generation", 0) == 2 and getattr(state, "phase", None) is Phase.FAILED

    await stage.eventually(lambda: stage.state("web"), good, "web failed")


class Crash(BaseException):
    """As SIGKILL: nobody cleans up."""


class Mortal(Engine):
    """Ends the agent right after one of the calls by which it changes something."""

    def __init__(self, socket: Path) -> None:
        super().__init__(socket)
        self.left = -1

    async def create(
        self,
        name: str,
        workload: Container,
        labels: Mapping[str, str],
        where: Where = Where(),  # noqa: B008 - frozen
    ) -> str:
        made = await super().create(name, workload, labels, where)
        self._pass()
        return made

    async def rename(self, container: str, name: str) -> None:
        await super().rename(container, name)
        self._pass()

    async def start(self, container: str) -> None:
        await super().start(container)
        self._pass()

    async def stop(self, container: str) -> None:
        await super().stop(container)
        self._pass()

    async def remove(self, container: str) -> None:
        await super().remove(container)
        self._pass()

    def _pass(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash


OWNER = Owner("pi-mortal", "server")
NOWHERE = AgentPaths(Path("/proc"))
"""Where nothing can be written."""


async def towards(engine: Engine, wanted: Container) -> bool:
    """One look, and what follows from it; whether there is nothing left to do, or it failed."""
    actions = plan({"web": Deployment(1, wanted)}, await Observer(engine, OWNER).look())
    workloads = Workloads(engine, OWNER, NOWHERE, Sealing(NOWHERE.sealing_key, OWNER.device))
    problems = [
        await workloads.carry_out(name, action, lambda _stage, _how_far: None) for name, action in actions.items()
    ]
    return not actions or any(problems)


async def converged(engine: Engine, wanted: Container) -> list[tuple[str, str]]:
    """What is there in the end: status and spec of each container."""
    for _ in range(8):
        if await towards(engine, wanted):
            break
    return [(one.status.value, one.spec) for one in await Observer(engine, OWNER).look()]


@pytest.mark.parametrize("wanted", [NEXT, BROKEN], ids=["starts", "does not start"])
def test_a_crash_between_any_two_steps_converges(engine: str, wanted: Container) -> None:
    async def body() -> int:
        mortal = Mortal(Path(engine))
        try:
            for crash_after in range(1, 30):
                mortal.left = -1
                assert await converged(mortal, STAYS) == [("running", spec_hash(STAYS))]
                mortal.left = crash_after
                crashed = False
                try:
                    await towards(mortal, wanted)
                except Crash:
                    crashed = True
                mortal.left = -1
                end = NEXT if wanted is NEXT else STAYS
                assert await converged(mortal, wanted) == [("running", spec_hash(end))], crash_after
                if not crashed:
                    return crash_after
            raise AssertionError("it never came to its end")
        finally:
            for one in await Observer(mortal, OWNER).look():
                with contextlib.suppress(Crash):
                    await mortal.remove(one.id)
            await mortal.close()

    assert asyncio.run(body()) >= 6  # create, rename, stop, start and what clears up


@pytest.mark.parametrize("fault", [{"status": 500, "message": "storage is corrupt"}, {"status": 200}])
def test_a_container_that_cannot_be_shown_is_its_workloads_problem_alone(
    stage: Stage, fault: dict[str, int | str]
) -> None:
    stage.resync = 0.5

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("bad", STAYS)
            await stage.deploy("good", STAYS)
            for name in ("bad", "good"):
                await stage.until(name, Phase.RUNNING, Reason.STARTED)
            before = await stage.containers()
            stage.plant(method="GET", path=f"/containers/{before['bad'].id}/json", **fault)
            await stage.until("bad", Phase.FAILED, Reason.ENGINE_ERROR)
            await stage.deploy("later", STAYS)
            await stage.until("later", Phase.RUNNING, Reason.STARTED)
            await stage.until("good", Phase.RUNNING, Reason.STARTED)
            await stage.withdraw("good")
            await stage.without_container("good")
            stage.heal()
            await stage.until("bad", Phase.RUNNING, Reason.STARTED)
            assert (await stage.containers())["bad"] == before["bad"]

    stage.play(body)
