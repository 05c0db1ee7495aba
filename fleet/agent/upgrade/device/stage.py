"""Verifies and lays down a version, in a process of its own: checking signatures takes 10 MB, and hashing takes time.

`python -m fleet.agent.upgrade.device.stage check|stage` reads a `Request` from standard input and writes a `Verdict` to
standard output. Each step can be done again after a crash in its middle: what has no marker is thrown away.
"""

from __future__ import annotations

import compileall
import errno
import fcntl
import os
import py_compile
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from fleet.agent.paths import AgentPaths
from fleet.agent.schema import on_disk
from fleet.agent.upgrade.device.files import remove, sync_tree, tree_digest
from fleet.agent.upgrade.device.space import check_space
from fleet.agent.upgrade.device.version_store import AGENT, Marker, VersionStore
from fleet.agent.upgrade.device.worker import Request, Verdict
from fleet.agent.upgrade.protocol.journal import Release
from fleet.artifacts.refusal import Refusal
from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import MAX_ARTIFACT, Manifest, UpgradeReason
from fleet.contract.wire import encode
from fleet.process.durable import replace_file, sync
from fleet.process.plain_file import open_lock, read_file

_UNPACKED = "site-packages"
_MAX_UNPACKED = 8 * MAX_ARTIFACT
"""Bytes that an artefact may unpack to."""
_MAX_FILES = 50_000
_NO_AGENT = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, NotImplementedError, msgspec.DecodeError)
"""What comes of unpacking something else than shiv's archive."""


def check(store: VersionStore, release: Release) -> Manifest:
    """Look at the manifest that was downloaded for a release.

    Raises:
        Refusal: it, its signature, its key or this machine speaks against it.
        OSError: it cannot be read.
    """
    return _proven(store, release, store.partial(release.digest).with_suffix(".json"))


def stage(store: VersionStore, release: Release) -> None:
    """Lay a downloaded release down, its marker last; one that is there already is only verified anew.

    Raises:
        Refusal: it is not what was signed, or not for this machine, or there is no space.
        OSError: the disk failed.
    """
    home, staging = store.home(release.version), store.staging(release.version)
    marker = store.marker(release.version)
    if marker is not None and marker.digest != release.digest:
        raise Refusal(
            UpgradeReason.DIGEST_CONFLICT,
            f"{release.version} is on this device with the digest {marker.digest}",
            next_step="build the change under a new version; a version never changes",
        )
    if marker is not None and not store.flaw(release):
        _proven(store, release, home / "manifest.json")
        # Whoever laid it down may have died before this.
        sync_tree(home)
        sync(store.versions)
        return
    remove(staging)
    partial = store.partial(release.digest)
    manifest = _proven(store, release, partial.with_suffix(".json"))
    _check_file(partial, manifest)
    try:
        check_space(store.versions, *_unpacked_size(partial))
        _lay_down(partial, staging, release)
    except _NO_AGENT as error:
        _leave_no_part(staging)
        raise Refusal(
            UpgradeReason.ARTIFACT_CORRUPT,
            f"what was signed as {release.version} is no agent: {error}",
            next_step="build it with `fleet agent build`",
        ) from error
    except OSError:
        _leave_no_part(staging)
        raise
    if home.exists():
        remove(store.broken(release.version))
        home.rename(store.broken(release.version))
    staging.rename(home)
    sync(store.versions)
    tidy(store)
    remove(partial)
    remove(partial.with_suffix(".json"))


def tidy(store: VersionStore) -> None:
    """Remove what earlier attempts left: no version that has a marker, and nothing that is being downloaded.

    Raises:
        OSError: the disk failed.
    """
    for left in (*store.versions.glob(".staging-*"), *store.leftovers(), store.new_link):
        remove(left)


def _proven(store: VersionStore, release: Release, path: Path) -> Manifest:
    from fleet.artifacts.verify import Machine, check_fits, open_manifest  # noqa: PLC0415 - the weight of this process

    trusted = store.trusted()
    manifest = open_manifest(read_file(path), trusted, time.time())
    if (manifest.version, manifest.digest) != (release.version, release.digest):
        raise Refusal(
            UpgradeReason.DIGEST_CONFLICT,
            f"{release.version} was ordered with the digest {release.digest}, and published is {manifest.version} with "
            f"{manifest.digest}",
            next_step="order the version again; if that does not help, build it under a new one",
        )
    check_fits(manifest, Machine.this(), trusted)
    form = on_disk(AgentPaths(store.root))
    if form > manifest.state_schema:
        raise Refusal(
            UpgradeReason.STATE_TOO_NEW,
            f"{release.version} understands state up to form {manifest.state_schema}, and what a newer agent wrote on "
            f"this device has form {form}",
            next_step="order a version that is as new",
        )
    return manifest


def _check_file(path: Path, manifest: Manifest) -> None:
    from fleet.artifacts.verify import check_file  # noqa: PLC0415

    if not path.is_file():
        raise Refusal(
            UpgradeReason.ARTIFACT_MISSING,
            f"{manifest.version} was not downloaded",
            next_step="order the version again",
        )
    check_file(path, manifest)


def _lay_down(partial: Path, staging: Path, release: Release) -> None:
    staging.mkdir(parents=True)
    artifact = staging / AGENT
    # A link and no move: until the version has its name, the download must not be lost.
    os.link(partial, artifact)
    artifact.chmod(0o755)
    os.link(partial.with_suffix(".json"), staging / "manifest.json")
    tree = _unpack(artifact, staging, final=staging.with_name(str(release.version)))
    sync_tree(staging)
    marker = Marker(
        release.digest,
        tree,
        tree_digest(staging / tree, compiled=True),
        tree_digest(staging / tree, compiled=False),
    )
    replace_file(staging / "verified", encode(marker), 0o644)


def _unpack(artifact: Path, staging: Path, final: Path) -> str:
    """Unpack an artefact to where it looks for itself, and compile it; the folder's name."""
    with zipfile.ZipFile(artifact) as archive:
        build = msgspec.json.decode(archive.read("environment.json"))["build_id"]
        tree = f"{AGENT}_{build}"
        for entry in _entries(archive):
            archive.extract(entry, staging / tree)
    compileall.compile_dir(
        staging / tree,
        ddir=str(final / tree),
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    return tree


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [entry for entry in archive.infolist() if entry.filename.startswith(f"{_UNPACKED}/")]


def _unpacked_size(artifact: Path) -> tuple[int, int]:
    """Bytes and files that an artefact becomes, compiled Python included.

    Raises:
        Refusal: it is more than an agent can be.
        zipfile.BadZipFile: it is no archive.
    """
    with zipfile.ZipFile(artifact) as archive:
        entries = _entries(archive)
    size, files = sum(entry.file_size for entry in entries), len(entries)
    if size > _MAX_UNPACKED or files > _MAX_FILES:
        raise Refusal(
            UpgradeReason.ARTIFACT_TOO_LARGE,
            f"it unpacks to {size} bytes in {files} files",
            next_step="find out what it holds that an agent does not need",
        )
    return size + size // 2, 3 * files


def _leave_no_part(staging: Path) -> None:
    try:
        remove(staging)
    except OSError:
        return  # a disk that fails; the next attempt begins with removing it


def _answer(act: Callable[[VersionStore, Release], object], request: Request) -> Verdict:
    store = VersionStore(Path(request.root))
    try:
        store.versions.mkdir(parents=True, exist_ok=True)
        with open_lock(store.folder / "stage.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # an earlier one may still be at it
            act(store, Release(AgentVersion(request.version), Digest(request.digest)))
    except FleetError as error:
        reason = error.reason if isinstance(error, Refusal) else UpgradeReason.OTHER
        return Verdict(error.what, error.next_step, reason.value)
    except OSError as error:
        return Verdict(str(error), "see the device's disk", error=error.errno or errno.EIO)
    return Verdict()


if __name__ == "__main__":
    _request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.json.encode(_answer({"check": check, "stage": stage}[sys.argv[1]], _request)))
