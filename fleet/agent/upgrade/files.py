"""Changes on disk that a power cut leaves whole or not done: written beside, synced, renamed, and the folder synced."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_COMPILED = "__pycache__"


def replace(path: Path, data: bytes, mode: int) -> None:
    """Put `data` at `path`; after it returns, a power cut does not lose it.

    Raises:
        OSError: it could not be written; what was there still is.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have what a file or folder holds written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Sync every file below a folder, and every folder; the folder itself last."""
    for inside, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(inside, name))
        sync(Path(inside))


def tree_digest(folder: Path, *, compiled: bool) -> str:
    """A SHA-256 digest of the names and contents of all files below a folder, with or without compiled Python.

    The launcher computes the same with its own code.
    """
    digest = hashlib.sha256()
    for name in sorted(_names(folder)):
        if compiled or _COMPILED not in name.split("/"):
            data = (folder / name).read_bytes()
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return f"sha256:{digest.hexdigest()}"


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; none is fine.

    Raises:
        OSError: something of it could not be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _names(folder: Path) -> Iterator[str]:
    for inside, _, names in os.walk(folder):
        for name in names:
            yield (Path(inside, name)).relative_to(folder).as_posix()
