"""Publishing on the real nats-server: whole or not listed, the same twice or an error, and taken away in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleet.artifacts.catalogue import Published, prune, publish, published, stray_chunks, unpublish
from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.verify import Refusal
from fleet.contract.buckets import APP_USER, PUBLISHER_USER, chunk_subject, manifest_subject
from fleet.contract.errors import Conflict, NotFound
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import CHUNK, UpgradeReason
from fleet.nats.blobs import Blobs
from fleet.nats.bus import connect
from tests.support.agents import KEY, signed, small
from tests.support.nats import Nats

Scene = Callable[[Blobs], Awaitable[None]]


@asynccontextmanager
async def publisher(nats: Nats) -> AsyncGenerator[Blobs]:
    operator = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
    await operator.ensure_blobs()
    await operator.blobs().remove("$O.>")
    await operator.close()
    bus = await connect(nats.login(PUBLISHER_USER), notice=lambda _: None, attempts=1)
    try:
        yield bus.blobs()
    finally:
        await bus.close()


def play(nats: Nats, scene: Scene) -> None:
    async def run() -> None:
        async with publisher(nats) as blobs:
            await scene(blobs)

    asyncio.run(run())


def silent(_: str) -> None:
    pass


def test_published_whole_and_listed_from_old_to_new(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        said: list[str] = []
        for version, size in (("v1.10.0", 33), ("v1.9.0", 3)):
            path, manifest = small(tmp_path, b"x" * size * CHUNK, version)
            assert await publish(blobs, path, signed(manifest), said.append)
            assert not await publish(blobs, path, signed(manifest), silent), "a repeat changes nothing"
            pieces = [await blobs.get(chunk_subject(manifest.digest, n)) for n in range(len(manifest.chunks))]
            assert b"".join(piece or b"" for piece in pieces) == path.read_bytes()
        listed = await published(blobs)
        assert [one.version for one in listed] == ["v1.9.0", "v1.10.0"]
        assert {one.key_id for one in listed} == {KEY.public.id}
        assert said == [f"{32 * CHUNK} of {33 * CHUNK} bytes"]

    play(nats, scene)


def test_the_same_version_with_another_digest_is_an_error(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        path, first = small(tmp_path, b"first")
        await publish(blobs, path, signed(first), silent)
        with pytest.raises(Conflict, match="signed otherwise"):
            await publish(blobs, path, signed(first, ReleaseKey.new()), silent)
        path, second = small(tmp_path, b"second")
        with pytest.raises(Conflict, match=f"{first.digest}.*{second.digest}"):
            await publish(blobs, path, signed(second), silent)
        assert (await published(blobs))[0].manifest == first

    play(nats, scene)


def test_what_is_not_whole_is_not_published(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        path, manifest = small(tmp_path, b"whole" * CHUNK)
        path.write_bytes(b"whole")
        with pytest.raises(Refusal) as caught:
            await publish(blobs, path, signed(manifest), silent)
        assert caught.value.reason is UpgradeReason.ARTIFACT_CORRUPT
        with pytest.raises(Refusal) as caught:
            await publish(blobs, path, b"no manifest", silent)
        assert caught.value.reason is UpgradeReason.MANIFEST_INVALID
        assert await published(blobs) == []
        assert await blobs.subjects("$O.>") == []

    play(nats, scene)


def test_a_publication_that_broke_off_goes_on(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        path, manifest = small(tmp_path, b"piece" * CHUNK)
        await blobs.put(chunk_subject(manifest.digest, 0), path.read_bytes()[:CHUNK])
        assert await published(blobs) == []
        assert await stray_chunks(blobs, []) == {manifest.digest}
        assert await publish(blobs, path, signed(manifest), silent)
        assert await stray_chunks(blobs, [manifest]) == set()

    play(nats, scene)


def test_pieces_of_somebody_else_are_not_taken_for_ours(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        path, manifest = small(tmp_path, b"piece" * CHUNK)
        await blobs.put(chunk_subject(manifest.digest, 1), b"something else")
        with pytest.raises(Conflict, match="other bytes"):
            await publish(blobs, path, signed(manifest), silent)
        assert await published(blobs) == []

    play(nats, scene)


def test_taking_away_leaves_the_pieces_of_others(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        path, one = small(tmp_path, b"the same", "v1.0.0")
        other = small(tmp_path, b"the same", "v2.0.0")[1]
        await publish(blobs, path, signed(one), silent)
        await publish(blobs, path, signed(other), silent)
        await unpublish(blobs, one.version, others=[other])
        assert [entry.version for entry in await published(blobs)] == ["v2.0.0"]
        assert await blobs.get(chunk_subject(other.digest, 0)) == b"the same"
        await unpublish(blobs, other.version, others=[])
        assert await blobs.subjects("$O.>") == []
        with pytest.raises(NotFound, match="not published"):
            await unpublish(blobs, other.version, others=[])

    play(nats, scene)


def test_a_bad_entry_is_listed_with_what_is_wrong(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        _, manifest = small(tmp_path, b"good")
        await blobs.put(manifest_subject("v1.0.0"), b"garbage")
        await blobs.put(manifest_subject("v1.0.1"), signed(manifest))
        await blobs.put(manifest_subject(manifest.version), signed(manifest))
        bad, moved, good = await published(blobs)
        assert "not valid" in bad.why
        assert "v9.9.9" in moved.why
        assert good == Published("v9.9.9", manifest, KEY.public.id)
        assert AgentVersion(good.version)

    play(nats, scene)


def test_pruning_keeps_the_newest_and_the_needed(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        for minor in range(5):
            path, manifest = small(tmp_path, f"agent {minor}".encode(), f"v1.{minor}.0")
            await publish(blobs, path, signed(manifest), silent)
        await blobs.put(chunk_subject("f" * 64, 0), b"left over")
        needed, surplus = {"v1.1.0"}, ["v1.0.0", "v1.2.0"]
        assert await prune(blobs, 2, needed, silent, dry_run=True) == surplus
        assert len(await published(blobs)) == 5
        said: list[str] = []
        assert await prune(blobs, 2, needed, said.append) == surplus
        assert [one.version for one in await published(blobs)] == ["v1.1.0", "v1.3.0", "v1.4.0"]
        assert len(await blobs.subjects(chunk_subject("*", "*"))) == 3
        assert len(said) == 3, "each act is told"
        assert await prune(blobs, 0, {"v1.1.0", "v1.3.0", "v1.4.0"}, silent) == []

    play(nats, scene)


def test_nothing_is_pruned_while_an_entry_cannot_be_read(nats: Nats, tmp_path: Path) -> None:
    async def scene(blobs: Blobs) -> None:
        path, manifest = small(tmp_path, b"good", "v1.0.0")
        await publish(blobs, path, signed(manifest), silent)
        await blobs.put(manifest_subject("v2.0.0"), b"garbage")
        with pytest.raises(Conflict, match="as v2"):
            await prune(blobs, 0, set(), silent)
        assert len(await published(blobs)) == 2

    play(nats, scene)
