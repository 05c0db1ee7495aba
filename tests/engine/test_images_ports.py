"""Images and published ports, on a real engine and on the double."""

from __future__ import annotations

import asyncio
import socket

import httpx
import msgspec
import pytest

from fleet.agent.answers import EngineRefused, is_gone
from fleet.agent.engine import Engine
from fleet.contract.wire import Reason
from harness.images import IMAGE, PAGE
from tests.engine.lab import STAYS, Lab, free_port, web, workload


def get(port: int) -> bytes:
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), trust_env=False, timeout=5) as client:
        return client.get(f"http://127.0.0.1:{port}/").content


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
