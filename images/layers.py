"""Layers: a folder's content as the same tar every time, made once for what it depends on and kept in a cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from fleet.process.user_folders import user_cache

_UNUSED = 14 * 24 * 3600
"""Seconds after which what nobody asked for is removed."""

Fill = Callable[[Path], object]


class Layer(msgspec.Struct, frozen=True):
    """One layer. `root` is its content as a folder; `digest` the SHA-256 of the tar in hexadecimal (the "diff id")."""

    root: Path
    tar: Path
    digest: str


def cache() -> Path:
    """Where layers are kept: `$XDG_CACHE_HOME/fleet/images`, or under `~/.cache`."""
    return user_cache() / "fleet" / "images"


def digest_of(*parts: bytes) -> str:
    """What a layer depends on, in one word; each part counts with its length, so that none can move into the next."""
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}\n".encode() + part)
    return total.hexdigest()


def layer(name: str, key: str, fill: Fill) -> Layer:
    """The layer of what `fill` puts into an empty folder; `key` says all that its content depends on.

    A second process that wants the same one waits for the first. What `fill` raises leaves nothing behind.
    """
    folder = cache() / f"{name}-{key[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _remove_unused(folder.parent)
            _make(folder, fill)
        os.utime(folder)
    return Layer(folder / "root", folder / "layer.tar", (folder / "digest").read_text())


def _make(folder: Path, fill: Fill) -> None:
    with whole(folder) as partial:
        root = partial / "root"
        root.mkdir()
        fill(root)
        write_tar(root, partial / "layer.tar")
        (partial / "digest").write_text(file_digest(partial / "layer.tar"))


@contextlib.contextmanager
def whole(folder: Path) -> Generator[Path]:
    """An empty folder that becomes `folder` once it is filled; of one that is not, nothing is left.

    Only one process may be at it; what one that was killed has left is removed.
    """
    for leftover in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(leftover)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tar(root: Path, target: Path) -> None:
    """Write a folder's content so that only names, bytes, links and the right to execute count."""
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            entry = tar.gettarinfo(path, str(path.relative_to(root)))
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            entry.mode = _mode(entry)
            if entry.isreg():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)


def _mode(entry: tarfile.TarInfo) -> int:
    if entry.mode & stat.S_ISVTX:
        return 0o1777
    return 0o755 if entry.isdir() or entry.mode & stat.S_IXUSR else 0o644


def _remove_unused(kept: Path) -> None:
    for path in kept.iterdir():
        if path.suffix != ".lock" and time.time() - path.stat().st_mtime > _UNUSED:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
