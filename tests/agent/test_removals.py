"""An admin's order removes a volume: that one, once, and never one that something uses, or that is another's."""

from __future__ import annotations

import msgspec
import pytest

from fleet.agent.desired_state import Deployment
from fleet.agent.paths import AgentPaths
from fleet.agent.problems import Problem
from fleet.agent.removals import mounted_by
from fleet.contract.buckets import DEVICE_INFO
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL, VOLUME_LABEL, container_name
from fleet.contract.mounts import Mount, MountType
from fleet.contract.owner import REPLACED_PATH, Owner
from fleet.contract.pod import PodContainer, SentPod, as_sent
from fleet.contract.volumes import VolumeOrder, VolumeOutcome, VolumeUsage
from fleet.contract.wire import Container, Phase, Reason
from harness.images import IMAGE
from tests.agent.stage import STAYS, Stage

KEEPS = as_sent(msgspec.structs.replace(STAYS, mounts=(Mount(MountType.VOLUME, "/data", "data"),)))
FORMER = Owner("pi-before", "0123456789abcdef")


async def told(stage: Stage) -> tuple[VolumeUsage, ...]:
    found = await stage.info()
    return found.disk_usage.named_volumes if found and found.disk_usage else ()


async def outcome(stage: Stage, order: str) -> VolumeOutcome:
    """What the device says of an order, once it does."""

    async def look() -> list[VolumeOutcome]:
        found = await stage.info()
        return [one for one in (found.volume_outcomes if found else ()) if one.order == order]

    (one,) = await stage.eventually(look, bool, f"order {order} is answered")
    return one


async def volume(stage: Stage, deployment: str = "web", containers: int = 1) -> VolumeUsage:
    """The volume `data` of a deployment, as the device tells of it; with so many containers that have it mounted."""

    def good(found: tuple[VolumeUsage, ...]) -> bool:
        return any((one.deployment, one.containers) == (deployment, containers) for one in found)

    found = await stage.eventually(
        lambda: told(stage), good, f"the volume of {deployment} is told of, in {containers} containers"
    )
    return next(one for one in found if one.deployment == deployment)


def removal(one: VolumeUsage, order: str) -> VolumeOrder:
    return VolumeOrder(one.deployment, one.name, one.id, order, one.former)


def names(stage: Stage) -> set[str]:
    listed: list[dict[str, str]] = stage.raw.call("GET", "/volumes").json()["Volumes"] or []
    return {one["Name"] for one in listed}


async def runs(stage: Stage, name: str = "web", generation: int = 1) -> None:
    await stage.deploy(name, KEEPS, generation)
    await stage.until(name, Phase.RUNNING, Reason.STARTED, generation=generation)


def test_a_volume_that_nothing_uses_goes_and_no_other(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            await runs(stage, "db")
            await stage.withdraw("web")
            await stage.without_container("web")
            found = await volume(stage, containers=0)
            await stage.remove_volumes(removal(found, "a1"))
            assert await outcome(stage, "a1") == VolumeOutcome("a1", "Removed")
            mine = {one for one in names(stage) if one.startswith(f"fleet-{stage.device}-")}
            assert mine == {f"fleet-{stage.device}-db-data"}
            await stage.eventually(
                lambda: told(stage), lambda seen: [one.deployment for one in seen] == ["db"], "it is told of no more"
            )

    stage.play(body)


def test_one_that_is_used_stays_with_what_is_in_it(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            before = (await stage.containers())["web"].id
            await stage.remove_volumes(removal(await volume(stage), "a1"))
            answer = await outcome(stage, "a1")
            assert answer.reason == "InUse"
            assert answer.message == (
                "web is to run here, and mounts it: delete the deployment, or take the mount out of it"
            )
            assert f"fleet-{stage.device}-web-data" in names(stage)
            assert (await stage.containers())["web"].id == before

    stage.play(body)


def test_one_that_somebody_elses_container_uses_stays(stage: Stage) -> None:
    """Also where that container does not run, and it is named."""

    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            await stage.withdraw("web")
            await stage.without_container("web")
            name = f"fleet-{stage.device}-web-data"
            mounts = [{"Type": "volume", "Source": name, "Target": "/x"}]
            body = {"Image": IMAGE, "Cmd": ["sleep", "1"], "HostConfig": {"Mounts": mounts}}
            foreign = f"backup-{stage.device}"
            stage.raw.call("POST", "/containers/create", params={"name": foreign}, json=body)
            try:
                await stage.remove_volumes(removal(await volume(stage, containers=0), "a1"))
                answer = await outcome(stage, "a1")
            finally:
                stage.raw.call("DELETE", f"/containers/{foreign}", params={"force": "1"})
            assert (answer.reason, foreign in answer.message) == ("InUse", True)
            assert name in names(stage)

    stage.play(body)


def test_an_order_waits_for_a_container_that_is_about_to_go(stage: Stage) -> None:
    """A deployment is deleted, and its volume right after it, while the container still ends."""

    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            found = await volume(stage)
            stage.plant(method="POST", path=f"/{(await stage.containers())['web'].id}/stop")  # it hangs
            await stage.withdraw("web", removal(found, "a1"), VolumeOrder("web", "other", "1f", "b2"))
            assert (await outcome(stage, "b2")).reason == "NotFound", "the first one was tried before"
            stage.heal()
            assert (await outcome(stage, "a1")).reason == "Removed"
            assert await stage.containers() == {}

    stage.play(body)


def test_an_agent_that_ends_while_the_engine_removes_a_volume_says_that_it_is_removed(stage: Stage) -> None:
    """The engine does it, and the agent that asked for it is gone: the next one finds no volume."""

    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            await stage.withdraw("web")
            await stage.without_container("web")
            found = await volume(stage, containers=0)
            stage.plant(method="DELETE", path="/volumes/")  # it hangs
            await stage.remove_volumes(removal(found, "a1"))
            await stage.eventually(lambda: begun(stage), lambda orders: "a1" in orders, "the removal has begun")
        stage.heal()
        stage.raw.call("DELETE", f"/volumes/{container_name(stage.device, 'web')}-data")
        async with stage.agent():
            assert await outcome(stage, "a1") == VolumeOutcome("a1", "Removed")

    stage.play(body)


async def begun(stage: Stage) -> str:
    file = AgentPaths(stage.root).removals
    return file.read_text() if file.exists() else ""


def test_a_restarted_agent_says_of_an_order_what_the_one_before_said(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            await stage.withdraw("web")
            await stage.without_container("web")
            found = await volume(stage, containers=0)
            await stage.remove_volumes(removal(found, "a1"), VolumeOrder("web", "other", "1f", "b2"))
            assert (await outcome(stage, "a1")).reason == "Removed"
        await stage.bus.kv(DEVICE_INFO).delete(stage.device)
        async with stage.agent():
            assert (await outcome(stage, "a1")).reason == "Removed"
            assert (await outcome(stage, "b2")).reason == "NotFound", "it removed no such volume"

    stage.play(body)


def test_a_stale_order_removes_no_volume_that_was_made_anew(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            old = await volume(stage)
            await stage.withdraw("web", removal(old, "a1"))
            assert (await outcome(stage, "a1")).reason == "Removed"
            await runs(stage, generation=2)
            await stage.withdraw("web")
            await stage.without_container("web")
            new = await volume(stage, containers=0)
            assert new.id != old.id
            await stage.remove_volumes(removal(old, "b2"))
            answer = await outcome(stage, "b2")
            assert (answer.reason, "another one" in answer.message) == ("NotFound", True)
            assert f"fleet-{stage.device}-web-data" in names(stage)

    stage.play(body)


def test_another_fleets_volume_is_not_removed_by_its_name(stage: Stage) -> None:
    labels = {DEVICE_LABEL: stage.device, SERVER_LABEL: "another", DEPLOYMENT_LABEL: "web", VOLUME_LABEL: "5f"}
    name = f"fleet-{stage.device}-web-data"

    async def body() -> None:
        stage.raw.call("POST", "/volumes/create", json={"Name": name, "Labels": labels})
        async with stage.agent():
            await stage.remove_volumes(VolumeOrder("web", "data", "5f", "a1"))
            assert (await outcome(stage, "a1")).reason == "NotFound"
            assert name in names(stage)

    stage.play(body)


def test_a_volume_of_a_former_identity_is_told_of_as_such_and_goes_by_order(stage: Stage) -> None:
    """Only of an identity that a set-up took the host from: the file that names it is its owner's."""
    name = f"{container_name(FORMER.device, 'web')}-data"
    labels = {DEVICE_LABEL: FORMER.device, SERVER_LABEL: FORMER.server, DEPLOYMENT_LABEL: "web"}

    async def body() -> None:
        stage.raw.call("POST", "/volumes/create", json={"Name": name, "Labels": labels})
        file = stage.root / REPLACED_PATH.lstrip("/")
        file.parent.mkdir(parents=True)
        file.write_bytes(msgspec.json.encode([FORMER]))
        async with stage.agent():
            found = await volume(stage, containers=0)
            assert (found.name, found.former) == ("data", FORMER.text)
            present = msgspec.structs.replace(removal(found, "a1"), former="")
            await stage.remove_volumes(present, removal(found, "b2"))
            assert (await outcome(stage, "a1")).reason == "NotFound", "it is not the present identity's"
            assert (await outcome(stage, "b2")).reason == "Removed"
            assert name not in names(stage)

    stage.play(body)


def test_an_order_is_carried_out_once_the_engine_answers(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            await stage.withdraw("web")
            await stage.without_container("web")
            found = await volume(stage, containers=0)
            stage.plant(method="DELETE", path="/volumes/", status=500, message="disk on fire", times=1)
            await stage.remove_volumes(removal(found, "a1"))
            answer = await outcome(stage, "a1")
            assert (answer.reason, "disk on fire" in answer.message) == ("EngineError", True)
            await stage.remove_volumes(removal(found, "b2"))
            assert (await outcome(stage, "b2")).reason == "Removed"

    stage.play(body)


def test_an_order_that_is_taken_back_is_not_begun(stage: Stage) -> None:
    async def body() -> None:
        async with stage.agent():
            await runs(stage)
            await stage.withdraw("web")
            await stage.without_container("web")
            found = await volume(stage, containers=0)
        await stage.remove_volumes(removal(found, "a1"))
        await stage.remove_volumes()
        async with stage.agent():
            await runs(stage, "db")
            assert f"fleet-{stage.device}-web-data" in names(stage)

    stage.play(body)


ORDER = VolumeOrder("web", "data", "1f", "a1")
NEEDED = "web is to run here, and mounts it: delete the deployment, or take the mount out of it"


@pytest.mark.parametrize(
    ("desired", "needed"),
    [
        (None, ""),
        (Deployment(1, STAYS), ""),
        (Deployment(1, KEEPS), NEEDED),
        (Deployment(2, KEEPS, Problem(Reason.INVALID_DESIRED_STATE, "what is newer does not parse")), NEEDED),
        (Deployment(1, SentPod((PodContainer(name="db", image="db:1", mounts=KEEPS.mounts),))), NEEDED),
        (
            Deployment(2, None, Problem(Reason.INVALID_DESIRED_STATE, "it does not parse")),
            "web is to run here, and what it mounts cannot be read: delete the deployment, or take the mount out of it",
        ),
        (Deployment(1, Container(image="a", mounts=(Mount(MountType.BIND, "/data", "/data"),))), ""),
    ],
    ids=["gone", "without", "mounts", "kept", "pod", "unread", "folder"],
)
def test_what_a_deployment_that_is_to_run_mounts_is_needed(desired: Deployment | None, needed: str) -> None:
    assert mounted_by({"web": desired} if desired else {}, ORDER) == needed
