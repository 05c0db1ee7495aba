"""After a rollback, the network of what ran before is removed on the device: it is made anew, or the report says so."""

from __future__ import annotations

import asyncio
import shutil

import msgspec
import pytest

from fleet.agent.engine import Engine
from fleet.agent.judge_pod import gone_back
from fleet.agent.problems import Problem
from fleet.contract.confinement import Update
from fleet.contract.containers import DEVICE_LABEL, network_name
from fleet.contract.pod import Pod, PodContainer, as_sent
from fleet.contract.wire import Health, Phase, Reason
from harness.images import IMAGE
from tests.agent.stage import Stage

BEFORE = Pod((PodContainer(name="db", image=IMAGE, command=("sleep", "1000000")),))
SICK = Health(("false",), interval=0.1, retries=1)
STORE = PodContainer(name="store", image=IMAGE, command=("sleep", "2000000"), health=SICK)
WITH_OTHER_NAMES = Pod((STORE,), update=Update(deadline=1))


async def prune(stage: Stage) -> None:
    """As a power cut, and `docker network prune` before the agent starts."""
    engine = Engine(stage.root / "run/docker.sock")
    try:
        for one in await engine.containers(f"{DEVICE_LABEL}={stage.device}"):
            await engine.stop(one.id)
    finally:
        await engine.close()
    stage.raw.call("DELETE", f"/networks/{network_name(stage.device, 'app')}")


ENDS = {"": 1, "DELETE /containers/": 2, "POST /start": 1}
"""What the engine refuses when the agent ends, and how many containers there are then."""


@pytest.mark.parametrize("ends", ENDS)
def test_what_ran_before_is_made_anew_for_another_network(stage: Stage, ends: str) -> None:
    """Also if an agent ended before it removed the old container, or before it started the new one."""

    async def body() -> None:
        await go_back(stage)
        (former,) = ids(stage)
        await prune(stage)
        if ends:
            method, path = ends.split()
            stage.plant(method=method, path=path, status=500, message="ended here")
            async with stage.agent():
                state = await stage.until("app", Phase.FAILED, Reason.ENGINE_ERROR, generation=2)
                assert "ended here" in state.message
            assert len(ids(stage)) == ENDS[ends]
            stage.heal()
        async with stage.agent():

            async def running() -> set[str]:
                return await asyncio.to_thread(ids, stage, all_of_them=False)

            (anew,) = await stage.eventually(running, bool, "it runs again")
            await stage.until("app", Phase.FAILED, Reason.WENT_BACK, generation=2)
            assert former != anew
            await stage.deploy("app", as_sent(BEFORE), 3)
            await stage.until("app", Phase.RUNNING, Reason.STARTED, generation=3)
            assert ids(stage) == {anew}, "it is what is ordered now, and nothing else is left"

    stage.play(body)


def test_what_a_former_agent_made_says_that_its_network_is_gone_and_another_order_makes_it_anew(stage: Stage) -> None:
    async def body() -> None:
        await go_back(stage)
        await prune(stage)
        shutil.rmtree(stage.root / "var/lib/fleet/specs")
        async with stage.agent():
            state = await stage.until("app", Phase.FAILED, Reason.ENGINE_ERROR, generation=2)
            assert state.message.startswith("db: it ran before, and cannot run again: its network was removed")
            assert "anew; the device had gone back to it: it was not well within 1 s: store" in state.message
            await stage.deploy("app", as_sent(BEFORE), 3)
            await stage.until("app", Phase.RUNNING, Reason.STARTED, generation=3)

    stage.play(body)


async def go_back(stage: Stage) -> None:
    async with stage.agent():
        await stage.deploy("app", as_sent(BEFORE))
        await stage.until("app", Phase.RUNNING, Reason.STARTED)
        await stage.deploy("app", as_sent(WITH_OTHER_NAMES), 2)
        await stage.until("app", Phase.FAILED, Reason.WENT_BACK, generation=2)


def ids(stage: Stage, *, all_of_them: bool = True) -> set[str]:
    """The device's containers, or those that run."""
    query = {"all": "1" if all_of_them else "", "filters": f'{{"label": ["{DEVICE_LABEL}={stage.device}"]}}'}
    return {one["Id"] for one in stage.raw.call("GET", "/containers/json", params=query).json()}


def test_a_rollback_without_a_failure_says_why_it_was() -> None:
    back = Problem(Reason.WENT_BACK, "it was ill")
    assert gone_back(back, {}) == back
    busy = msgspec.structs.replace(back, reason=Reason.PORT_IN_USE, message="port 80")
    told = gone_back(back, {"web": busy, "db": busy})
    assert (told.reason, told.message) == (busy.reason, "db: port 80; the device had gone back to it: it was ill")
