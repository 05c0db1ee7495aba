"""Downloading from the real nats-server: resumed, verified piece by piece, and refused before anything is written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fleet.agent.upgrade.device.fetch import fetch
from fleet.agent.upgrade.device.worker import work
from fleet.agent.upgrade.protocol.journal import Release
from fleet.artifacts.catalogue import publish
from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.refusal import Refusal
from fleet.contract.buckets import APP_USER, chunk_subject, manifest_subject
from fleet.contract.errors import Unreachable
from fleet.contract.upgrade import CHUNK, Manifest, UpgradeReason
from fleet.nats.blobs import Blobs
from fleet.nats.bus import connect
from tests.support.agents import built, manifest_of, signed
from tests.support.nats import Nats
from tests.upgrade.device import Device, artifact

FILL = bytes(range(256)) * (4 * CHUNK // 256)


class Counting(Blobs):
    """Remembers what was asked for, and breaks off when told."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.asked: list[str] = []
        self.breaks_at = ""

    async def get(self, subject: str) -> bytes | None:
        if subject == self.breaks_at:
            raise Unreachable("the line is cut", next_step="repeat")
        self.asked.append(subject)
        return await self._blobs.get(subject)


def play(nats: Nats, scene: Callable[[Blobs, Counting], Awaitable[None]]) -> None:
    async def run() -> None:
        bus = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        try:
            await bus.ensure_blobs()
            await bus.blobs().remove("$O.>")
            await scene(bus.blobs(), Counting(bus.blobs()))
        finally:
            await bus.close()

    asyncio.run(run())


def silent(_: str) -> None:
    pass


async def published(blobs: Blobs, path: Path, manifest: Manifest) -> Release:
    await publish(blobs, path, signed(manifest), silent)
    return Release(manifest.version, manifest.digest)


async def refused(device: Device, blobs: Blobs, release: Release) -> UpgradeReason:
    with pytest.raises(Refusal) as caught:
        await fetch(blobs, device.store, release)
    assert list(device.store.versions.iterdir()) == []
    return caught.value.reason


def test_a_built_agent_is_fetched_laid_down_and_not_fetched_again(nats: Nats, tmp_path: Path) -> None:
    device = Device(tmp_path)

    async def scene(blobs: Blobs, counting: Counting) -> None:
        release = await published(blobs, built("v0.1.1"), manifest_of("v0.1.1"))
        await fetch(counting, device.store, release)
        await work("stage", device.store, release)
        assert device.store.flaw(release) == ""
        counting.asked.clear()
        await fetch(counting, device.store, release)
        assert counting.asked == []

    play(nats, scene)


def test_it_goes_on_where_it_stopped(nats: Nats, tmp_path: Path) -> None:
    device = Device(tmp_path)
    path, manifest = artifact(tmp_path / "built", "v1.0.0", fill=FILL)

    async def scene(blobs: Blobs, counting: Counting) -> None:
        release = await published(blobs, path, manifest)
        counting.breaks_at = chunk_subject(manifest.digest, 3)
        with pytest.raises(Unreachable):
            await fetch(counting, device.store, release)
        partial = device.store.partial(release.digest)
        with partial.open("r+b") as file:  # and the last piece came to harm meanwhile
            file.seek(2 * CHUNK)
            file.write(b"harm")
        counting.breaks_at = ""
        counting.asked.clear()
        await fetch(counting, device.store, release)
        pieces = [subject for subject in counting.asked if ".C." in subject]
        assert pieces == [chunk_subject(manifest.digest, number) for number in range(2, len(manifest.chunks))]
        assert partial.read_bytes() == path.read_bytes()
        counting.asked.clear()
        await fetch(counting, device.store, release)  # whoever came back after a power cut, with all of it there
        assert not [subject for subject in counting.asked if ".C." in subject]
        assert partial.read_bytes() == path.read_bytes()

    play(nats, scene)


def test_what_was_left_of_another_download_goes(nats: Nats, tmp_path: Path) -> None:
    device = Device(tmp_path)
    (device.store.incoming / ("0" * 64)).write_bytes(b"left")
    path, manifest = artifact(tmp_path / "built", "v1.0.0")

    async def scene(blobs: Blobs, _: Counting) -> None:
        await fetch(blobs, device.store, await published(blobs, path, manifest))
        assert {file.stem for file in device.store.incoming.iterdir()} == {manifest.digest.removeprefix("sha256:")}

    play(nats, scene)


def test_what_is_not_whole_in_the_store_is_refused(nats: Nats, tmp_path: Path) -> None:
    device = Device(tmp_path)
    path, manifest = artifact(tmp_path / "built", "v1.0.0", fill=FILL)

    async def scene(blobs: Blobs, _: Counting) -> None:
        release = Release(manifest.version, manifest.digest)
        assert await refused(device, blobs, release) is UpgradeReason.MANIFEST_MISSING
        await published(blobs, path, manifest)
        await blobs.remove(chunk_subject(manifest.digest, 1))
        assert await refused(device, blobs, release) is UpgradeReason.ARTIFACT_MISSING
        await blobs.put(chunk_subject(manifest.digest, 1), b"something else")
        assert await refused(device, blobs, release) is UpgradeReason.ARTIFACT_CORRUPT

    play(nats, scene)


def test_what_nobody_signed_is_refused_before_a_piece_is_asked_for(nats: Nats, tmp_path: Path) -> None:
    device = Device(tmp_path)
    path, manifest = artifact(tmp_path / "built", "v1.0.0")

    async def scene(blobs: Blobs, counting: Counting) -> None:
        await publish(blobs, path, signed(manifest, ReleaseKey.new()), silent)
        release = Release(manifest.version, manifest.digest)
        assert await refused(device, counting, release) is UpgradeReason.KEY_UNKNOWN
        assert counting.asked == [manifest_subject("v1.0.0")]

    play(nats, scene)


def test_another_digest_than_ordered_is_refused(nats: Nats, tmp_path: Path) -> None:
    device = Device(tmp_path)
    path, manifest = artifact(tmp_path / "built", "v1.0.0")
    other = artifact(tmp_path / "other", "v1.0.0", fill=b"more")[1]

    async def scene(blobs: Blobs, _: Counting) -> None:
        await published(blobs, path, manifest)
        assert await refused(device, blobs, Release(other.version, other.digest)) is UpgradeReason.DIGEST_CONFLICT

    play(nats, scene)
