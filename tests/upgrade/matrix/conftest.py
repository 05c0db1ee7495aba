from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest

from fleet.contract.names import AgentVersion
from harness.scenario.setup import ensure_installed
from harness.world.world import World
from tests.upgrade.matrix.lab import NEW, NEWER, OLD, Lab
from tests.upgrade.matrix.shelf import publish_all, publish_one, stage_all

Publish = Callable[[Path, bytes], None]
MakeLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Session: real agents, each as it is laid down on a device."""
    return stage_all(tmp_path_factory.mktemp("shelf"), (OLD, NEW, NEWER))


@pytest.fixture
def fleet_world(world: World, tmp_path: Path) -> World:
    """Function: the worker's world, with a server in it."""
    ensure_installed(world, tmp_path)
    return world


@pytest.fixture
def published(fleet_world: World) -> Publish:
    """Function: publishes an artefact under its signed manifest, as an admin does."""
    return partial(publish_one, fleet_world)


@pytest.fixture
def lab(fleet_world: World, shelf: Path, tmp_path: Path) -> Generator[MakeLab]:
    """Function: makes devices that run OLD; NEW and NEWER are published."""
    publish_all(fleet_world, (OLD, NEW, NEWER))
    made: list[Lab] = []

    def make(*present: AgentVersion, **limits: float) -> Lab:
        one = Lab(fleet_world, tmp_path, fleet_world.unique("pi"))
        made.append(one)
        one.set_up(OLD, shelf, *present, **limits)
        return one

    yield make
    for one in made:
        one.close()
