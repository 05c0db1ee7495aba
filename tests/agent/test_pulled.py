"""Images that the agent pulled go when nothing needs them; what it did not pull stays."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from fleet.agent.answers import Usage
from fleet.agent.disk import Volumes, floor, usage
from fleet.agent.pulled import Pulled
from fleet.agent.volumes import OwnVolume, Volume
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.limits import MAX_VOLUMES_SHOWN
from fleet.contract.mounts import Mount, MountType
from fleet.contract.owner import Owner
from fleet.contract.pod import as_sent
from fleet.contract.volumes import VolumeUsage
from fleet.contract.wire import Container, Phase, Reason
from harness.doubles.engine.volumes import size_of
from harness.engine.client import EngineClient
from harness.engine.select import running_double
from harness.images import IMAGE, busybox_archive
from tests.agent.stage import Stage

ONE, TWO, THREE = (f"fleet-test/pulled:{number}" for number in (1, 2, 3))


class Disk(NamedTuple):
    """As `shutil.disk_usage` tells."""

    total: int
    used: int
    free: int


@pytest.fixture
def own(stage: Stage) -> Iterator[EngineClient]:
    """An engine double of this test's own, with three images in its registry and one that somebody loaded."""
    home = stage.root / "engine"
    (home / "state/registry").mkdir(parents=True)
    for image in (ONE, TWO, THREE):
        archive = busybox_archive(image, page=image.encode())
        (home / f"state/registry/{image[-1]}.tar").write_bytes(archive)
    link = stage.root / "run/docker.sock"
    link.unlink()
    link.symlink_to(home / "docker.sock")
    with running_double(home) as socket, closing(EngineClient(str(socket))) as client:
        client.load(busybox_archive())
        yield client


def runs(image: str) -> Container:
    return Container(image=image, command=("sleep", "1000000"))


def test_what_was_pulled_and_nothing_needs_goes(stage: Stage, own: EngineClient) -> None:
    async def there() -> list[bool]:
        return [await asyncio.to_thread(own.has_image, image) for image in (IMAGE, ONE, TWO, THREE)]

    async def body() -> None:
        async with stage.agent():
            for generation, image in enumerate((IMAGE, ONE, TWO, THREE), 1):
                await stage.deploy("web", runs(image), generation=generation)
                await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=generation)
            await stage.eventually(there, lambda seen: seen == [True, False, True, True], "the present and the last")
            await stage.withdraw("web")
            await stage.eventually(there, lambda seen: seen == [True, False, False, False], "what was not pulled stays")

    stage.play(body)


def test_an_engine_that_hangs_at_the_removal_of_an_image_delays_no_start(stage: Stage, own: EngineClient) -> None:
    """The deployment whose former image goes was busy with it, for up to a minute an image."""

    async def there() -> bool:
        return await asyncio.to_thread(own.has_image, ONE)

    async def body() -> None:
        own.call("POST", "/_double/faults", json={"method": "DELETE", "path": "/images/"})
        async with stage.agent():
            for generation, image in enumerate((ONE, TWO, THREE, TWO, THREE), 1):
                await stage.deploy("web", runs(image), generation)
                await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=generation)
            await stage.deploy("other", runs(THREE))
            await stage.until("other", Phase.RUNNING, Reason.STARTED)
            assert await there(), "the engine hangs at its removal"
            own.call("DELETE", "/_double/faults")
            await stage.eventually(there, lambda seen: not seen, "what nothing needs is gone")

    stage.play(body)


def test_an_order_that_never_ran_takes_no_place_of_what_ran_before(stage: Stage, own: EngineClient) -> None:
    """Else the last version that was well would have to be fetched again for the way back to it."""

    async def there() -> list[bool]:
        return [await asyncio.to_thread(own.has_image, image) for image in (ONE, TWO)]

    async def body() -> None:
        async with stage.agent():
            orders = ((ONE, Phase.RUNNING, Reason.STARTED), ("fleet-test/none:1", Phase.FAILED, Reason.IMAGE_NOT_FOUND))
            for generation, (image, phase, reason) in enumerate((*orders, (TWO, *orders[0][1:])), 1):
                await stage.deploy("web", runs(image), generation=generation)
                await stage.until("web", phase, reason, generation=generation, within=30)
            await stage.deploy("job", runs(IMAGE))  # by its start, what nothing needs has been removed twice
            await stage.until("job", Phase.RUNNING, Reason.STARTED, within=30)
            assert await there() == [True, True], "the one that runs, and the one that ran before it"

    stage.play(body)


def test_no_image_is_fetched_to_a_disk_that_is_nearly_full(
    stage: Stage, own: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs goes on, what nothing needs goes first, and the image comes once there is room."""

    def nearly_full(_folder: Path) -> Disk:
        return Disk(16 * 2**30, 2**34 - 2**20, 2**20)

    async def body() -> None:
        async with stage.agent():
            for generation, image in enumerate((ONE, TWO), 1):
                await stage.deploy("web", runs(image), generation=generation)
                await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=generation, within=20)
            before = (await stage.containers())["web"]
            with monkeypatch.context() as patch:
                patch.setattr("fleet.agent.disk.shutil.disk_usage", nearly_full)
                await stage.deploy("web", runs(THREE), generation=3)
                state = await stage.until("web", Phase.FAILED, Reason.DISK_FULL, generation=3, within=20)
                assert "1 MiB are free" in state.message
                assert "819 MiB" in state.message
                assert (await stage.containers())["web"].id == before.id
                assert not await asyncio.to_thread(own.has_image, ONE), "an image that nothing needs took the room"
                assert not await asyncio.to_thread(own.has_image, THREE)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, generation=3, within=40)

    stage.play(body)


def test_what_uses_the_disk_is_told(stage: Stage, own: EngineClient) -> None:
    del own

    async def body() -> None:
        async with stage.agent():
            info = await stage.eventually(
                stage.info, lambda one: one is not None and one.disk_usage, "usage", within=20
            )
            assert info.disk_usage.free > 0
            assert info.disk_usage.floor == floor(shutil.disk_usage(stage.root).total)

    stage.play(body)


@pytest.mark.parametrize(("total", "least"), [(2**30, 2**28), (10 * 2**30, 2**29), (2**40, 2**31)])
def test_a_part_of_a_disk_stays_free(total: int, least: int) -> None:
    assert floor(total) == least


def test_a_record_survives_and_a_damaged_one_removes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    record = Pulled(path)
    record.pulled(ONE)
    record.used("web", ONE)
    record.used("web", TWO)
    record.used("web", THREE)
    assert Pulled(path).surplus() == [ONE]
    record.pulled(TWO)
    record.ordered("web", TWO)
    assert Pulled(path).surplus() == [ONE], "it ran before"
    record.ordered("web", IMAGE)
    assert Pulled(path).surplus() == [ONE]
    assert Pulled(path).surplus(short=True) == [ONE, TWO], "what runs stays, and what is ordered"
    record.ordered("web", IMAGE)
    record.ordered("job", ONE)
    assert Pulled(path).surplus() == [], "it is to run elsewhere"
    record.ended("job", ())
    assert Pulled(path).surplus() == [ONE]
    path.write_bytes(b"nonsense")
    assert Pulled(path).surplus() == []


def test_the_agents_of_before_wrote_no_orders(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps({"pulled": [ONE, TWO], "used": {"web": [TWO]}}))
    assert Pulled(path).surplus() == [ONE]


def test_the_volumes_of_its_deployments_are_told_by_name_and_no_others(stage: Stage, own: EngineClient) -> None:
    """Also that of a deployment that is gone: nobody else knows of it."""
    wanted = Container(
        image=IMAGE,
        command=("sh", "-c", "echo kept > /data/kept; exec sleep 1000000"),
        mounts=(Mount(MountType.VOLUME, "/data", "data"),),
    )
    foreign = {DEVICE_LABEL: stage.device, SERVER_LABEL: "another", DEPLOYMENT_LABEL: "web"}

    async def told() -> tuple[VolumeUsage, ...]:
        found = await stage.info()
        return found.disk_usage.named_volumes if found and found.disk_usage else ()

    async def body() -> None:
        async with stage.agent():
            await stage.deploy("web", as_sent(wanted))
            await stage.until("web", Phase.RUNNING, Reason.STARTED, within=20)
            (mounted,) = [one for one in (await stage.containers())["web"].mounts or [] if one.type == "volume"]

            async def size() -> int:
                return await asyncio.to_thread(lambda: size_of(Path(mounted.source)))

            await stage.eventually(size, lambda found: found == len("kept\n"), "the volume is written", within=20)
            await stage.withdraw("web")
            await stage.without_container("web")
        own.call("POST", "/volumes/create", json={"Name": "foreign", "Labels": foreign})
        own.call("POST", "/volumes/create", json={"Name": "by-hand"})
        async with stage.agent():
            found = await stage.eventually(
                told, lambda seen: [one.size for one in seen] == [4], "its volumes are told as they are now"
            )
            assert found == (VolumeUsage("data", "web", 4, found[0].id),)
            assert len(found[0].id) == 16

    stage.play(body)


def test_the_largest_volumes_are_told_where_there_are_many() -> None:
    owner = Owner("pi-1", "home")
    names = [f"v{number}" for number in range(MAX_VOLUMES_SHOWN + 8)]
    many = [OwnVolume(name, "web", owner, Volume(f"fleet-pi-1-web-{name}", created_at="noon")) for name in names]
    sizes = [{"Name": one.engine.name, "UsageData": {"Size": 1 << number}} for number, one in enumerate(many)]
    found = msgspec.convert({"Volumes": [*sizes[1:], {"Name": many[0].engine.name, "UsageData": {"Size": -1}}]}, Usage)
    told = usage(Path("/"), found, Volumes(many, {}), owner).named_volumes
    assert [one.name for one in told] == [f"v{number}" for number in range(len(many) - 1, 7, -1)]
    unmeasured = usage(
        Path("/"), found, Volumes(many[:1], {"fleet-pi-1-web-v0": 2}), Owner("pi-1", "new")
    ).named_volumes
    assert unmeasured == (VolumeUsage("v0", "web", 0, "noon", "pi-1@home", 2),)
