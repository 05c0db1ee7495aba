"""Images that the agent pulled go when nothing needs them; what it did not pull stays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fleet.agent.pulled import Pulled
from fleet.contract.wire import Container, Phase, Reason
from harness.engine import running_double
from harness.engine_client import EngineClient
from harness.images import IMAGE, busybox_archive
from tests.agent.stage import Stage

ONE, TWO, THREE = (f"fleet-test/pulled:{number}" for number in (1, 2, 3))


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


def test_a_record_survives_and_a_damaged_one_removes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    record = Pulled(path)
    record.pulled(ONE)
    record.used("web", ONE)
    record.used("web", TWO)
    record.used("web", THREE)
    assert Pulled(path).surplus() == [ONE]
    path.write_bytes(b"nonsense")
    assert Pulled(path).surplus() == []
