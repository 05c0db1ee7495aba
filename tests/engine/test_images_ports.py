"""Images and published ports, on a real engine and on the double."""

from __future__ import annotations

import asyncio
import re
import socket

import httpx
import msgspec
import pytest

from fleet.agent import disk
from fleet.agent.answers import EngineRefused, is_gone
from fleet.agent.engine import Engine
from fleet.agent.volumes import ensure_volume, volumes_of
from fleet.contract.confinement import Stop
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.owner import Owner
from fleet.contract.wire import Reason
from harness.images import IMAGE, PAGE, busybox_archive, own_busybox
from harness.processes.ports import free_port
from harness.wait import wait_until
from tests.engine.lab import LABEL, STAYS, Lab, web, workload


def get(port: int) -> bytes:
    """The page at a port. An engine's forwarder takes connections before the program in the container listens."""

    def look() -> bytes | None:
        try:
            return client.get(f"http://127.0.0.1:{port}/").content
        except httpx.TransportError:
            return None

    with httpx.Client(trust_env=False, timeout=5) as client:
        page = wait_until(look, f"port {port} answers", timeout=30)
    assert page is not None
    return page


def test_the_test_image_is_there_and_others_are_not(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        assert await engine.has_image(IMAGE)
        assert not await engine.has_image("fleet-test/busybox:2")
        assert not await engine.has_image("fleet-test/absent")

    lab.run(body)


def test_an_image_that_cannot_be_had_is_not_pulled(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        # A registry address that answers nothing, so that no real one is asked.
        with pytest.raises(EngineRefused, match="pull"):
            await engine.pull(f"localhost:{free_port()}/fleet-test/absent:1")

    lab.run(body)


def test_creating_from_an_absent_image_says_so(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        with pytest.raises(EngineRefused) as refused:
            await lab.make(engine, workload(*STAYS, image="fleet-test/absent:1"))
        assert (refused.value.status, refused.value.problem.reason) == (404, Reason.IMAGE_NOT_FOUND)

    lab.run(body)


@pytest.mark.parametrize("image", ["Upper/Case:1", "with space", "a//b"])
def test_a_reference_that_is_none_is_an_invalid_wish(lab: Lab, image: str) -> None:
    """The contract refuses it before; what gets past that is still the deployment's own trouble."""
    wanted = workload(*STAYS)
    msgspec.structs.force_setattr(wanted, "image", image)

    async def body(engine: Engine) -> None:
        with pytest.raises(EngineRefused) as refused:
            await lab.make(engine, wanted)
        assert refused.value.problem.reason is Reason.INVALID_DESIRED_STATE

    lab.run(body)


def test_a_container_tells_the_image_that_it_was_made_from(lab: Lab) -> None:
    """Also when the tag was moved meanwhile: what runs is told, not what the tag means now."""
    loaded = lab.raw.call("GET", f"/images/{IMAGE}/json").json()["Id"].removeprefix("sha256:")

    async def body(engine: Engine) -> None:
        details = await lab.look(engine, await lab.started(engine, workload(*STAYS)))
        assert details.image.removeprefix("sha256:") == loaded
        assert len(loaded) == 64
        assert await engine.digests(details.image) == (), "it came from no registry: podman gives it a digest anyway"

    lab.run(body)


def test_an_image_for_another_machine_is_known_by_what_it_says(lab: Lab) -> None:
    """Engines start it all the same: that this one runs shows that its program is this machine's."""
    image = f"fleet-test/foreign:{lab.mark}"
    lab.raw.load(busybox_archive(image, of=msgspec.structs.replace(own_busybox(), machine="s390x")))

    async def body(engine: Engine) -> None:
        assert (await engine.machines(IMAGE)).differ == ""
        differ = (await engine.machines(image)).differ
        assert re.fullmatch("its image is made for s390x, and this device is [a-z0-9]+", differ)
        container = await lab.started(engine, workload(*STAYS, image=image))
        assert (await lab.look(engine, container)).state.status == "running"
        await engine.remove(container)
        assert await engine.remove_image(image)

    lab.run(body)


def test_what_uses_the_disk(lab: Lab) -> None:
    """The engine tells where its data is, what of it are images, and which volumes are there."""
    owner = Owner(lab.mark, "home")
    labels = {DEVICE_LABEL: lab.mark, SERVER_LABEL: "home", DEPLOYMENT_LABEL: "web", LABEL: lab.mark}

    async def body(engine: Engine) -> None:
        await lab.started(engine, workload(*STAYS))
        await ensure_volume(engine, f"fleet-{lab.mark}-web-data", labels)
        folder = await engine.folder()
        assert await asyncio.to_thread(folder.is_dir)
        volumes = disk.Volumes(await volumes_of(engine, [owner]), {})
        shown = disk.usage(folder, await engine.usage(), volumes, owner)
        assert [(one.name, one.deployment) for one in shown.named_volumes] == [("data", "web")]
        assert (await engine.usage()).images_size > 2**19
        assert shown.free > 0
        assert shown.floor >= 256 * 2**20

    lab.run(body)


def test_a_published_port_answers(lab: Lab) -> None:
    port = free_port()

    async def body(engine: Engine) -> None:
        await lab.started(engine, web(port))
        assert await asyncio.to_thread(get, port) == PAGE

    lab.run(body)


def test_two_containers_may_have_the_same_port_inside(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        for suffix in ("one", "two"):
            port = free_port()
            await lab.started(engine, web(port), suffix)
            assert await asyncio.to_thread(get, port) == PAGE

    lab.run(body)


def test_a_port_that_a_container_has_is_refused_and_free_after_it(lab: Lab) -> None:
    port = free_port()

    async def body(engine: Engine) -> None:
        first = await lab.started(engine, web(port), "first")
        second = await lab.make(engine, web(port), "second")
        with pytest.raises(EngineRefused) as refused:
            await engine.start(second)
        assert refused.value.problem.reason is Reason.PORT_IN_USE
        assert (await lab.look(engine, second)).state.status == "created"
        await engine.remove(first)
        await engine.start(second)
        assert await asyncio.to_thread(get, port) == PAGE

    lab.run(body)


def test_a_port_is_free_once_its_container_is_stopped(lab: Lab) -> None:
    """What takes a container's place starts right after the stop, as the agent has it."""
    port = free_port()

    async def body(engine: Engine) -> None:
        dies_at_once = msgspec.structs.replace(web(port), stop=Stop("SIGKILL"))
        running = await lab.started(engine, dies_at_once, "first")
        waiting = await lab.make(engine, dies_at_once, "second")
        for _ in range(2):
            await engine.stop(running)
            await engine.start(waiting)
            running, waiting = waiting, running

    lab.run(body)


def test_a_port_that_another_process_has_is_refused(lab: Lab) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]

        async def body(engine: Engine) -> None:
            container = await lab.make(engine, web(port))
            with pytest.raises(EngineRefused) as refused:
                await engine.start(container)
            assert refused.value.problem.reason is Reason.PORT_IN_USE

        lab.run(body)


@pytest.mark.parametrize(
    ("status", "message", "gone"),
    [
        (404, "No such container: 1", True),
        (500, "container 1 does not exist in database: no such container", True),
        (500, "storage is corrupt", False),
        (301, "", False),
    ],
)
def test_what_went_meanwhile_is_known_in_each_engines_words(status: int, message: str, gone: bool) -> None:
    assert is_gone(status, message) is gone
