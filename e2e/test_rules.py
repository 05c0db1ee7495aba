"""Rules that hold behind the runbook: no operator types them, and each must break a test when it is broken."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from harness.images import IMAGE
from harness.pytest_plugin.fixtures.scenario import Play
from harness.world.world import World
from scenarios.rules.ends import deleted_for_good, waits
from scenarios.rules.logins import sign_in, what_a_device_may_touch, who_gets_in
from scenarios.rules.placement import engine, everywhere, foreign, foreign_containers, selector


@pytest.fixture
def _somebody_elses_containers(world: World) -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    """Function: runs containers that the device's agent did not make, removed after."""
    with engine(world, world.unique("owner")) as client:
        for name, labels in foreign(world).items():
            body = {"Image": IMAGE, "Entrypoint": ["sleep"], "Cmd": ["1000000"], "Labels": labels}
            made = client.call("POST", "/containers/create", params={"name": name}, json=body)
            assert made.status_code == 201, made.text
            client.call("POST", f"/containers/{name}/start")
        yield
        for name in foreign(world):
            client.call("DELETE", f"/containers/{name}", params={"force": "true"})


@pytest.mark.embedded
def test_who_gets_in(play: Play) -> None:
    play(who_gets_in)


@pytest.mark.embedded
def test_what_a_device_may_touch(play: Play) -> None:
    play(what_a_device_may_touch)


@pytest.mark.embedded
def test_sign_in(play: Play) -> None:
    play(sign_in)


def test_selector(play: Play) -> None:
    play(selector)


@pytest.mark.embedded
def test_everywhere(play: Play) -> None:
    play(everywhere)


@pytest.mark.usefixtures("_somebody_elses_containers")
@pytest.mark.embedded
def test_foreign_containers(play: Play) -> None:
    play(foreign_containers)


@pytest.mark.embedded
def test_deleted_for_good(play: Play) -> None:
    play(deleted_for_good)


@pytest.mark.embedded
def test_commands_wait(play: Play, world: World) -> None:
    try:
        play(waits)
    finally:
        world.start("operator")
