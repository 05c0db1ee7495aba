"""Two deployments whose volumes have one usual name in the engine: each has its own, and finds it again."""

from __future__ import annotations

import msgspec

from fleet.agent.volumes import own_name, usual_name
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.mounts import Mount, MountType
from fleet.contract.owner import Owner
from fleet.contract.pod import as_sent
from fleet.contract.wire import Container, Container2, Phase, Reason
from tests.agent.stage import STAYS, Stage
from tests.agent.test_removals import names, outcome, removal, told


def keeps(name: str, **more: str) -> Container | Container2:
    mounts = (Mount(MountType.VOLUME, "/data", name),)
    return as_sent(msgspec.structs.replace(STAYS, mounts=mounts, env=more))


def mine(stage: Stage) -> set[str]:
    return {one for one in names(stage) if one.startswith(f"fleet-{stage.device}-")}


async def runs(stage: Stage, deployment: str, workload: Container, generation: int = 1) -> None:
    await stage.deploy(deployment, workload, generation)
    await stage.until(deployment, Phase.RUNNING, Reason.STARTED, generation=generation)


def test_each_has_its_own_volume_and_keeps_it_when_the_other_is_gone(stage: Stage) -> None:
    """The second was refused: its volume was "not of this fleet's making"."""

    async def body() -> None:
        first, second = usual_name(stage.device, "a", "b-c"), own_name(stage.device, "a-b", "c")
        async with stage.agent():
            await runs(stage, "a", keeps("b-c"))
            await runs(stage, "a-b", keeps("c"))
            assert mine(stage) == {first, second}
            seen = await stage.eventually(lambda: told(stage), lambda found: len(found) == 2, "both are told of")
            assert {(one.deployment, one.name) for one in seen} == {("a", "b-c"), ("a-b", "c")}
            (found,) = (one for one in seen if one.deployment == "a")
            await stage.withdraw("a")
            await stage.without_container("a")
            await stage.remove_volumes(removal(found, "a1"))
            assert (await outcome(stage, "a1")).reason == "Removed"
            await runs(stage, "a-b", keeps("c", AGAIN="1"), 2)
            assert mine(stage) == {second}

    stage.play(body)


def test_a_volume_that_a_former_agent_made_is_found_by_its_usual_name(stage: Stage) -> None:
    async def body() -> None:
        usual, owner = usual_name(stage.device, "a-b", "c"), Owner.of(stage.config)
        labels = {DEVICE_LABEL: owner.device, SERVER_LABEL: owner.server, DEPLOYMENT_LABEL: "a-b"}
        stage.raw.call("POST", "/volumes/create", json={"Name": usual, "Labels": labels})
        async with stage.agent():
            await runs(stage, "a-b", keeps("c"))
            await runs(stage, "a", keeps("b-c"))
        assert mine(stage) == {usual, own_name(stage.device, "a", "b-c")}

    stage.play(body)


def test_a_volume_of_somebody_else_is_refused_with_what_to_do(stage: Stage) -> None:
    async def body() -> None:
        usual = usual_name(stage.device, "a-b", "c")
        stage.raw.call("POST", "/volumes/create", json={"Name": usual, "Labels": {}})
        async with stage.agent():
            await stage.deploy("a-b", keeps("c"))
            state = await stage.until("a-b", Phase.FAILED, Reason.NOT_ALLOWED)
            assert usual in state.message
            assert "name the volume otherwise" in state.message
        assert mine(stage) == {usual}

    stage.play(body)
