"""How many images a device fetches at once, for how long, and what it says meanwhile."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.agent import pulls
from fleet.agent.answers import EngineRefused, Progress
from fleet.agent.engine import Engine
from fleet.agent.pulls import AT_ONCE, OF_ONE_REGISTRY, Fetched, Pulls
from fleet.contract.sealed import RegistryLogin
from fleet.contract.wire import Reason
from tests.support.waiting import eventually


class Hanging(Engine):
    """Fetches what it is let fetch."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.let: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.begun: list[str] = []
        self.done: list[str] = []

    async def pull(
        self,
        image: str,
        platform: str = "",
        login: RegistryLogin | None = None,
        tell: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.begun.append(image)
        await self.let[image].wait()
        self.done.append(image)


async def begun(engine: Hanging, images: list[str]) -> None:
    await eventually(lambda: engine.begun == images, f"{images} are fetched", within=20)


def test_a_few_at_once_and_fewer_of_one_registry() -> None:
    async def body() -> None:
        engine, said = Hanging(), defaultdict[str, list[str]](list)
        device = Pulls(engine)
        slow = [f"slow.example/{number}" for number in range(OF_ONE_REGISTRY + 1)]
        other = [f"other{number}.example/a" for number in range(AT_ONCE - OF_ONE_REGISTRY + 1)]
        async with asyncio.TaskGroup() as group:
            for image in (*slow, *other):
                group.create_task(device.pull(image, "", None, said[image].append))
            # One that waits for its registry holds up no other registry's.
            await begun(engine, [*slow[:-1], *other[:-1]])
            assert said[slow[0]] == [""]
            assert said[slow[-1]] == ["waits for its turn: other images are fetched"]
            assert said[other[-1]] == ["waits for its turn: other images are fetched"]
            engine.let[other[0]].set()
            await begun(engine, [*slow[:-1], *other])
            for image in (*slow, *other):
                engine.let[image].set()
        assert sorted(engine.done) == sorted((*slow, *other))
        assert said[slow[-1]] == ["waits for its turn: other images are fetched", ""]
        await engine.close()

    asyncio.run(body())


def test_one_that_nobody_waits_for_any_more_gives_its_turn_to_the_next() -> None:
    async def body() -> None:
        engine = Hanging()
        device = Pulls(engine)
        images = [f"r.example/{number}" for number in range(OF_ONE_REGISTRY + 2)]
        tasks = [asyncio.create_task(device.pull(image, "", None, lambda _: None)) for image in images]
        await begun(engine, images[:OF_ONE_REGISTRY])
        tasks[OF_ONE_REGISTRY].cancel()  # it has not begun
        tasks[0].cancel()
        await begun(engine, [*images[:OF_ONE_REGISTRY], images[-1]])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await engine.close()

    asyncio.run(body())


def test_none_goes_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "WITHIN", 0.05)

    async def body() -> None:
        engine = Hanging()
        with pytest.raises(EngineRefused, match=r"pull r/a: timeout: it is not here after 0\.05 s") as refused:
            await Pulls(engine).pull("r/a", "", None, lambda _: None)
        assert refused.value.problem.reason is Reason.REGISTRY_UNAVAILABLE
        await engine.close()

    asyncio.run(body())


DOCKER = [
    '{"status":"Pulling from app","id":"1"}',
    '{"status":"Pulling fs layer","progressDetail":{},"id":"a"}',
    '{"status":"Pulling fs layer","progressDetail":{},"id":"b"}',
    '{"status":"Downloading","progressDetail":{"current":524288,"total":1048576},"id":"a"}',
    '{"status":"Downloading","progressDetail":{"current":530000,"total":1048576},"id":"a"}',
    '{"status":"Download complete","progressDetail":{},"id":"a"}',
    '{"status":"Downloading","progressDetail":{"current":2097152,"total":3145728},"id":"b"}',
    '{"status":"Extracting","progressDetail":{"current":1,"total":1048576},"id":"a"}',
    '{"status":"Downloading","progressDetail":{"current":3145728,"total":3145728},"id":"b"}',
    '{"status":"Digest: sha256:ab"}',
    "no JSON",
]


def test_how_far_a_pull_is_in_tenths() -> None:
    """docker's lines; that layers are unpacked, and what is nearly the same, is not told."""
    fetched = Fetched()
    said = [one for line in DOCKER if (one := fetched.add(Progress.read(line)))]
    assert said == [
        "fetched 0.5 of 1.0 MiB",
        "fetched 1.0 of 1.0 MiB",
        "fetched 3.0 of 4.0 MiB",
        "fetched 4.0 of 4.0 MiB",
    ]
