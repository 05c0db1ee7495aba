"""Real agents, as they are laid down on a device, and as they are published."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from fleet.agent.upgrade.device.stage import stage
from fleet.artifacts.catalogue import publish
from fleet.contract.names import AgentVersion
from fleet.nats.bus import Login, connect
from harness.world.world import World
from tests.support.agents import built, manifest_of, signed
from tests.upgrade.device import Device as Disk


def stage_all(root: Path, versions: Sequence[AgentVersion]) -> Path:
    """The folder of versions of a device that has them all."""
    root.mkdir(parents=True, exist_ok=True)
    disk = Disk(root)
    for version in versions:
        stage(disk.store, disk.download(built(version), manifest_of(version)))
    return disk.store.versions


def publish_all(world: World, versions: Sequence[AgentVersion]) -> None:
    """Publish them, unless they are."""
    for version in versions:
        publish_one(world, built(version), signed(manifest_of(version)))


def publish_one(world: World, artifact: Path, signed_manifest: bytes) -> None:
    """Publish an artefact under its signed manifest, as an admin does."""

    async def go() -> None:
        login = world.nats_login()
        door = Login(login.url, "publisher", login.ca, user=login.user, password=login.password)
        bus = await connect(door, notice=lambda _: None)
        try:
            await publish(bus.blobs(), artifact, signed_manifest, lambda _: None)
        finally:
            await bus.close()

    asyncio.run(go())
