from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from fleet.agent.upgrade.stage import stage
from fleet.artifacts.catalogue import publish
from fleet.bus import Login, connect
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import Manifest
from harness.preparation import ensure_installed
from harness.world import World
from tests.support.agents import built, manifest_of, signed
from tests.upgrade.device import Device as Disk
from tests.upgrade.matrix.lab import Lab

OLD, NEW, NEWER = AgentVersion("v0.1.1"), AgentVersion("v0.1.2"), AgentVersion("v0.1.3")

Publish = Callable[[Path, Manifest, bytes], None]
MakeLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Session: real agents, each as it is laid down on a device."""
    root = tmp_path_factory.mktemp("shelf")
    disk = Disk(root)
    for version in (OLD, NEW, NEWER):
        stage(disk.room, disk.download(built(version), manifest_of(version)))
    return disk.room.versions


@pytest.fixture
def fleet_world(world: World, tmp_path: Path) -> World:
    """Function: the worker's world, with a server in it."""
    ensure_installed(world, tmp_path)
    return world


@pytest.fixture
def published(fleet_world: World) -> Publish:
    """Function: publishes an artefact under its signed manifest, as an admin does."""

    def put(artifact: Path, manifest: Manifest, signed_manifest: bytes) -> None:
        async def go() -> None:
            login = fleet_world.nats_login()
            door = Login(login.url, "publisher", login.ca, user=login.user, password=login.password)
            bus = await connect(door, notice=lambda _: None)
            try:
                await publish(bus.blobs(), artifact, signed_manifest, lambda _: None)
            finally:
                await bus.close()

        asyncio.run(go())

    return put


@pytest.fixture
def lab(fleet_world: World, shelf: Path, published: Publish, tmp_path: Path) -> Generator[MakeLab]:
    """Function: makes devices that run v0.1.1; v0.1.2 and v0.1.3 are published."""
    for version in (OLD, NEW, NEWER):
        published(built(version), manifest_of(version), signed(manifest_of(version)))
    made: list[Lab] = []

    def make(*present: AgentVersion, **limits: float) -> Lab:
        one = Lab(fleet_world, tmp_path, fleet_world.unique("pi"))
        made.append(one)
        one.set_up(OLD, shelf, *present, **limits)
        return one

    yield make
    for one in made:
        one.close()
