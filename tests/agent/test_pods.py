"""Pods on an engine: order, names, one change at a time, failures with the container's name, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from fleet.agent.answers import Details
from fleet.agent.engine import Engine
from fleet.contract.confinement import Update
from fleet.contract.containers import (
    CONTAINER_LABEL,
    DEPLOYMENT_LABEL,
    DEVICE_LABEL,
    SERVER_LABEL,
    container_name,
    network_name,
)
from fleet.contract.mounts import Mount, MountType
from fleet.contract.owner import Owner
from fleet.contract.pod import Condition, Dependency, InitContainer, Pod, PodContainer, as_sent
from fleet.contract.wire import Container, Health, Phase, Reason, Restart
from fleet.process.backoff import Backoff
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage

DATA = (Mount(MountType.VOLUME, "/data", "data"),)
INIT = InitContainer(name="init", image=IMAGE, command=("sh", "-c", "echo begun > /data/log"), mounts=DATA)
DB = PodContainer(
    name="db",
    image=IMAGE,
    command=("sh", "-c", "echo db >> /data/log; exec httpd -f -p 7000 -h /data"),
    mounts=DATA,
    health=Health(("wget", "-qO-", "http://127.0.0.1:7000/log"), interval=0.1),
)
WEB = PodContainer(
    name="web",
    image=IMAGE,
    command=("sh", "-c", "wget -qO- http://db:7000/log && echo asked; exec sleep 1000000"),
    depends_on=(Dependency("db", Condition.HEALTHY),),
)
STACK = Pod((WEB, DB), (INIT,))


async def found(stage: Stage) -> dict[str, Details]:
    """The device's containers by their names in the engine, without what all of them have in common."""
    engine = Engine(stage.root / "run/docker.sock")
    try:
        every = await engine.containers(f"{DEVICE_LABEL}={stage.device}")
    finally:
        await engine.close()
    return {one.name.removeprefix(f"/{container_name(stage.device, 'app')}").lstrip("_"): one for one in every}


async def lives(stage: Stage) -> dict[str, tuple[str, str, str]]:
    return {name: (one.id, one.state.started_at, one.state.status) for name, one in (await found(stage)).items()}


async def deploy(stage: Stage, pod: Pod, generation: int = 1) -> None:
    await stage.deploy("app", as_sent(pod), generation)


def log(stage: Stage, container: str) -> str:
    return stage.raw.call("GET", f"/containers/{container}/logs", params={"stdout": "1", "stderr": "1"}).text


def changed(pod: Pod, name: str, **more: object) -> Pod:
    one = tuple(msgspec.structs.replace(one, **more) if one.name == name else one for one in pod.containers)
    return msgspec.structs.replace(pod, containers=one)


def test_it_starts_in_order_with_one_volume_and_one_network(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            there = await found(stage)
            assert {name: one.state.status for name, one in there.items()} == {
                "init": "exited",
                "db": "running",
                "web": "running",
            }
            await stage.eventually(lambda: asyncio.to_thread(log, stage, there["web"].id), has("asked"), "web asked db")
            assert "begun" in log(stage, there["web"].id)
            assert {one.labels[CONTAINER_LABEL] for one in there.values()} == {"init", "db", "web"}
            await stage.withdraw("app")
            await stage.without_container("app")
            await stage.eventually(lambda: network(stage), gone, "its network is gone")

    stage.play(body)


def has(text: str) -> Callable[[str], bool]:
    return lambda seen: text in seen


def gone(status: int) -> bool:
    return status == 404


@pytest.mark.parametrize("fails", [False, True])
def test_a_start_takes_the_network_of_an_agent_that_was_ended_and_not_one_of_somebody_else(
    stage: Stage, fails: bool
) -> None:
    """Nothing is removed, and nothing is to run; where the engine fails, the next look goes on."""

    def make(deployment: str, labels: dict[str, str]) -> None:
        name = network_name(stage.device, deployment)
        stage.raw.call("POST", "/networks/create", json={"Name": name, "Labels": labels})

    async def body() -> None:
        owner = Owner.of(stage.config)
        ours = {DEVICE_LABEL: owner.device, SERVER_LABEL: owner.server, DEPLOYMENT_LABEL: "gone"}
        make("gone", ours)
        make("app", {})
        if fails:
            stage.plant(method="GET", path="/networks$", status=500, times=1)
        stage.resync = 0.5
        async with stage.agent():
            await stage.index()
            await stage.eventually(lambda: network(stage, "gone"), gone, "what was left is gone")
        assert await network(stage) == 200
        stage.raw.call("DELETE", f"/networks/{network_name(stage.device, 'app')}")

    stage.play(body)


async def network(stage: Stage, deployment: str = "app") -> int:
    engine = Engine(stage.root / "run/docker.sock")
    try:
        path = f"/networks/{network_name(stage.device, deployment)}"
        return (await engine.call("GET", path, "look", good=(200, 404))).status_code
    finally:
        await engine.close()


def test_a_change_of_one_container_replaces_that_one_alone(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            before = await lives(stage)
            await deploy(stage, changed(STACK, "web", env={"A": "1"}), 2)
            await stage.until("app", Phase.RUNNING, Reason.STARTED, generation=2)
            after = await lives(stage)
            assert after.keys() == before.keys()
            assert {name for name in after if after[name] != before[name]} == {"web"}

    stage.play(body)


@pytest.mark.parametrize("name", ["app", "zoo"])
def test_a_container_comes_and_goes_and_the_others_get_other_addresses(stage: Stage, name: str) -> None:
    """Engines give an address to one container alone while that runs (`tests/engine/test_networks.py`)."""

    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            one = PodContainer(name=name, image=IMAGE, command=("sleep", "3000000"))
            await deploy(stage, msgspec.structs.replace(STACK, containers=(WEB, DB, one)), 2)
            await stage.until("app", Phase.RUNNING, Reason.STARTED, generation=2)
            await stage.eventually(lambda: lives(stage), named({"init", "db", "web", name}), "those before are gone")
            await deploy(stage, STACK, 3)
            await stage.until("app", Phase.RUNNING, Reason.STARTED, generation=3)
            await stage.eventually(lambda: lives(stage), named({"init", "db", "web"}), "those before are gone")

    stage.play(body)


def test_an_image_that_cannot_be_had_takes_nothing_away_and_is_told_with_its_container(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            before = await lives(stage)
            await deploy(stage, changed(changed(STACK, "db", image="fleet-test/absent:1"), "web", env={"A": "1"}), 2)
            state = await stage.until("app", Phase.FAILED, Reason.IMAGE_NOT_FOUND, generation=2)
            assert state.message.startswith("db: ")
            after = await lives(stage)
            assert {name: after[name] for name in before} == before
            await deploy(stage, STACK, 3)
            await stage.until("app", Phase.RUNNING, Reason.STARTED, generation=3)
            await stage.eventually(lambda: lives(stage), lambda now: now == before, "only what ran is left")

    stage.play(body)


def test_what_cannot_start_goes_back_and_the_others_run(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            before = await found(stage)
            await deploy(stage, changed(STACK, "web", command=("no-such-program",)), 2)
            state = await stage.until("app", Phase.FAILED, Reason.INVALID_DESIRED_STATE, generation=2)
            assert state.message.startswith("web: ")
            assert "what ran before runs again" in state.message
            after = await found(stage)
            assert {name: (one.id, one.state.status) for name, one in after.items()} == {
                name: (one.id, one.state.status) for name, one in before.items()
            }

    stage.play(body)


def test_what_went_back_is_tried_less_and_less_often_for_each_attempt_stops_what_runs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Quick(Backoff):
        """The long waits, a thousand times shorter."""

        def __init__(self, first: float, longest: float) -> None:
            super().__init__(first, longest)
            self._is_long = first == 20

        def next(self) -> float:
            wait = super().next()
            if not self._is_long:
                return wait
            waits.append(wait)
            return wait / 1000

    monkeypatch.setattr("fleet.agent.manager.Backoff", Quick)

    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            await deploy(stage, changed(STACK, "web", command=("no-such-program",)), 2)
            await stage.eventually(lambda: asyncio.to_thread(len, waits), lambda number: number > 2, "three attempts")
            assert [wait >= bound for wait, bound in zip(waits, (10, 20, 40), strict=False)] == [True] * 3, waits

    stage.play(body)


def test_an_init_container_that_fails_is_told_and_nothing_else_starts(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            init = msgspec.structs.replace(INIT, command=("sh", "-c", "exit 7"), restart=Restart.NO)
            await deploy(stage, msgspec.structs.replace(STACK, init_containers=(init,)))
            state = await stage.until("app", Phase.FAILED, Reason.EXITED)
            assert state.message == "init: exit code 7"
            assert {one.state.status for one in (await found(stage)).values()} == {"exited", "created"}

    stage.play(body)


def test_what_is_not_well_in_time_gives_way_as_a_whole(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            tried = msgspec.structs.replace(STACK, update=Update(deadline=3))
            await deploy(stage, tried)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            before = await found(stage)
            sick = changed(tried, "db", health=Health(("false",), interval=0.1, retries=1))
            await deploy(stage, changed(sick, "web", env={"A": "1"}), 2)
            state = await stage.until("app", Phase.FAILED, Reason.WENT_BACK, generation=2)
            assert "db" in state.message
            after = await found(stage)
            assert {name: (one.id, one.state.status) for name, one in after.items()} == {
                name: (one.id, one.state.status) for name, one in before.items()
            }

    stage.play(body)


def test_a_container_becomes_a_pod_and_the_pod_a_container(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await stage.deploy("app", STAYS)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            await deploy(stage, STACK, 2)
            await stage.until("app", Phase.RUNNING, Reason.STARTED, generation=2)
            await stage.eventually(lambda: lives(stage), named({"init", "db", "web"}), "the one before is gone")
            await stage.deploy("app", STAYS, 3)
            await stage.until("app", Phase.RUNNING, Reason.STARTED, generation=3)
            await stage.eventually(lambda: lives(stage), named({""}), "the pod is gone")
            await stage.eventually(lambda: network(stage), gone, "its network is gone")

    stage.play(body)


def named(names: set[str]) -> Callable[[dict[str, object]], bool]:
    return lambda seen: set(seen) == names


def test_an_agent_that_starts_anew_touches_nothing(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            before = await lives(stage)
        async with stage.agent():
            await stage.deploy("other", Container(image=IMAGE, command=("sleep", "3000000")))
            await stage.until("other", Phase.RUNNING, Reason.STARTED)
            after = {name: one for name, one in (await lives(stage)).items() if "other" not in name}
            assert after == before

    stage.play(body)


def test_a_field_of_a_container_that_only_a_newer_agent_knows_is_unsupported_and_what_runs_goes_on(
    stage: Stage,
) -> None:
    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            before = await lives(stage)
            newer = b'{"type":"pod","containers":[{"name":"web","image":"web:1","addedLater":true}]}'
            await stage.write("app", b'{"type":"desired","generation":2,"workload":' + newer + b"}", generation=2)
            await stage.until("app", Phase.FAILED, Reason.UNSUPPORTED_WORKLOAD, generation=2)
            assert await lives(stage) == before

    stage.play(body)


def test_a_network_that_was_pruned_while_nothing_ran_comes_back_and_so_do_its_containers(stage: Stage) -> None:
    """As `docker network prune` does after a reboot, before the agent starts; the next range is another one."""

    async def body() -> None:
        async with stage.agent():
            await deploy(stage, STACK)
            await stage.until("app", Phase.RUNNING, Reason.STARTED)
            before = await found(stage)
        name = network_name(stage.device, "app")
        taken = stage.raw.call("GET", f"/networks/{name}").json()["IPAM"]
        for one in before.values():
            stage.raw.call("POST", f"/containers/{one.id}/stop")
        stage.raw.call("DELETE", f"/networks/{name}")
        foreign = f"{name}-foreign"
        stage.raw.call("POST", "/networks/create", json={"Name": foreign, "IPAM": taken})
        try:
            async with stage.agent():
                await stage.eventually(lambda: statuses(stage), runs, "it runs again")
                after = await found(stage)
                assert after["init"].id == before["init"].id, "what has ended well is not run again"
                assert {after[one].id for one in ("db", "web")}.isdisjoint({before[one].id for one in ("db", "web")})
                asked = lambda: asyncio.to_thread(log, stage, after["web"].id)  # noqa: E731
                await stage.eventually(asked, has("asked"), "web asked db at its new address")
        finally:
            stage.raw.call("DELETE", f"/networks/{foreign}")

    stage.play(body)


async def statuses(stage: Stage) -> dict[str, str]:
    return {name: one.state.status for name, one in (await found(stage)).items()}


def runs(seen: dict[str, str]) -> bool:
    return seen == {"init": "exited", "db": "running", "web": "running"}
