"""The policy of a device's owner counts for a container that the device goes back to, as for one that is ordered."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fleet.agent.kept_specs import KeptSpecs
from fleet.contract.confinement import Capabilities, Security, Stop, Update
from fleet.contract.containers import spec_hash
from fleet.contract.pod import Pod, PodContainer, as_sent, members
from fleet.contract.policy import DevicePolicy
from fleet.contract.wire import Container, Health, Phase, Reason, Restart, encode
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage

STRONG = Container(
    image=IMAGE,
    command=("sleep", "1000000"),
    restart=Restart.ALWAYS,
    security=Security(capabilities=Capabilities(add=("SYS_ADMIN",))),
    stop=Stop(grace=0),
)
ILL = msgspec.structs.replace(
    STRONG,
    security=Security(),
    health=Health(command=("false",), interval=0.2, retries=1),
    update=Update(deadline=1),
)
REFUSED = "the device's owner does not allow the capability SYS_ADMIN"


def allow(stage: Stage, *capabilities: str) -> None:
    (stage.root / "etc/fleet").mkdir(parents=True, exist_ok=True)
    (stage.root / "etc/fleet/policy.json").write_bytes(encode(DevicePolicy(capabilities=capabilities)))


def running(stage: Stage) -> set[str]:
    """The ids of this device's containers that run."""
    query = {"filters": f'{{"label": ["io.fleet.device={stage.device}"]}}'}
    return {one["Id"] for one in stage.raw.call("GET", "/containers/json", params=query).json()}


def test_an_update_that_is_not_well_stays_where_the_former_may_not_run_any_more(stage: Stage) -> None:
    async def body() -> None:
        allow(stage, "SYS_ADMIN")
        async with stage.agent():
            await stage.deploy("web", as_sent(STRONG))
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            former = (await stage.containers())["web"].id
            allow(stage)
            await stage.deploy("web", as_sent(ILL), 2)
            state = await stage.until("web", Phase.FAILED, Reason.NOT_ALLOWED, generation=2)
            assert f"and going back to what ran before: {REFUSED}" in state.message
            assert former not in running(stage)
            assert running(stage), "what was not well goes on"

    stage.play(body)


def test_what_ran_before_is_not_started_again_after_a_reboot_until_it_may(stage: Stage) -> None:
    async def body() -> None:
        allow(stage, "SYS_ADMIN")
        async with stage.agent():
            await stage.deploy("web", as_sent(STRONG))
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            former = (await stage.containers())["web"].id
            await stage.deploy("web", as_sent(ILL), 2)
            await stage.until("web", Phase.FAILED, Reason.WENT_BACK, generation=2)
        allow(stage)
        stage.raw.call("POST", f"/containers/{former}/stop")
        async with stage.agent():
            state = await stage.until("web", Phase.FAILED, Reason.NOT_ALLOWED, generation=2)
            assert REFUSED in state.message
            assert running(stage) == set()
            allow(stage, "SYS_ADMIN")
            await stage.until("web", Phase.FAILED, Reason.WENT_BACK, generation=2)
            assert running(stage) == {former}

    stage.play(body)


def test_what_cannot_start_does_not_bring_back_what_may_not_run(stage: Stage) -> None:
    async def body() -> None:
        allow(stage, "SYS_ADMIN")
        async with stage.agent():
            await stage.deploy("web", as_sent(STRONG))
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            allow(stage)
            stage.plant(method="POST", path="/start$", status=500, message="a bad moment")
            await stage.deploy("web", STAYS, 2)
            state = await stage.until("web", Phase.FAILED, Reason.ENGINE_ERROR, generation=2)
            assert f"a bad moment; and going back to what ran before: {REFUSED}" in state.message
            assert running(stage) == set()

    stage.play(body)


def test_what_a_container_was_made_from_is_kept_for_as_long_as_it_is_there(tmp_path: Path) -> None:
    kept = KeptSpecs(tmp_path / "specs")
    member = members(as_sent(Pod((PodContainer(name="db", image=IMAGE),))))["db"]  # pyright: ignore[reportArgumentType]
    for one in (STAYS, as_sent(STRONG), member):
        assert isinstance(one, Container)
        kept.put("web", one)
        assert kept.get("web", spec_hash(one)) == one
        path = tmp_path / "specs/web" / spec_hash(one)
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    kept.keep("web", {spec_hash(STAYS)})
    assert (kept.get("web", spec_hash(STAYS)), kept.get("web", spec_hash(STRONG))) == (STAYS, None)
    (tmp_path / "specs/web" / spec_hash(STRONG)).write_bytes(msgspec.json.encode(STAYS))
    assert kept.get("web", spec_hash(STRONG)) is None, "it is not what its name says"
    kept.keep("web", ())
    assert not (tmp_path / "specs/web").exists()
    (tmp_path / "file").write_text("")
    KeptSpecs(tmp_path / "file").put("web", STAYS)  # a disk that cannot be written takes nothing else with it
