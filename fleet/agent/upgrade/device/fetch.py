"""Downloads an artefact piece by piece over the device's own connection, and goes on where it stopped."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from fleet.agent.upgrade.device.files import remove
from fleet.agent.upgrade.device.space import check_space
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.device.worker import work
from fleet.agent.upgrade.protocol.journal import Release
from fleet.artifacts.refusal import Refusal
from fleet.contract.buckets import chunk_subject, manifest_subject
from fleet.contract.upgrade import CHUNK, Manifest, SignedManifest, UpgradeReason
from fleet.contract.wire import decode
from fleet.nats.blobs import Blobs
from fleet.process.durable import replace_file, sync

_UNPACKED = 5
"""How many times its own size an artefact takes on disk, unpacked and compiled; checked exactly before it is."""
_FILES = 4000


async def fetch(blobs: Blobs, store: VersionStore, release: Release) -> None:
    """Download a release to `VersionStore.partial`, unless it lies verified among the versions already.

    Raises:
        Refusal: it is not published, not signed by who is trusted, not for this machine, damaged, or does not fit.
        Unreachable: NATS did not answer; a repeat goes on.
        OSError: the disk failed.
    """
    if not await asyncio.to_thread(store.flaw, release):
        return
    signed = await blobs.get(manifest_subject(release.version))
    if signed is None:
        raise Refusal(
            UpgradeReason.MANIFEST_MISSING,
            f"{release.version} is not published",
            next_step="see `fleet agent list`, and publish it",
        )
    partial = store.partial(release.digest)
    await asyncio.to_thread(_prepare, store, partial, signed)
    await work("check", store, release)
    manifest = decode(decode(signed, SignedManifest).payload.encode(), Manifest)
    done = await asyncio.to_thread(_resume, partial, manifest)
    check_space(store.incoming, _UNPACKED * manifest.size - done * CHUNK, _FILES)
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_NONBLOCK), "r+b") as file:
        file.seek(done * CHUNK)
        for number in range(done, len(manifest.chunks)):
            await _piece(blobs, manifest, number, file)
        file.truncate(manifest.size)
    await asyncio.to_thread(sync, partial)


def _prepare(store: VersionStore, partial: Path, signed: bytes) -> None:
    """What is left of other downloads goes: one at a time is on its way."""
    store.incoming.mkdir(parents=True, exist_ok=True)
    for left in store.incoming.iterdir():
        if left.stem != partial.stem:
            remove(left)
    replace_file(partial.with_suffix(".json"), signed, 0o644)


def _resume(partial: Path, manifest: Manifest) -> int:
    """How many pieces are there and good, from the first on."""
    with os.fdopen(os.open(partial, os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK, 0o644), "rb") as file:
        for number, digest in enumerate(manifest.chunks):
            if _digest(file.read(CHUNK)) != digest:
                return number
    return len(manifest.chunks)


async def _piece(blobs: Blobs, manifest: Manifest, number: int, file: BinaryIO) -> None:
    data = await blobs.get(chunk_subject(manifest.digest, number))
    if data is None:
        raise Refusal(
            UpgradeReason.ARTIFACT_MISSING,
            f"piece {number} of {manifest.version} is not published",
            next_step="publish it again: `fleet agent publish`",
        )
    if _digest(data) != manifest.chunks[number]:
        raise Refusal(
            UpgradeReason.ARTIFACT_CORRUPT,
            f"piece {number} of {manifest.version} is damaged",
            next_step="take the version away with `fleet agent prune`, and publish it again",
        )
    file.write(data)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
