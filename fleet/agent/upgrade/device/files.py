"""Folders of files: sync, digest and remove them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fleet.process.durable import sync
from fleet.process.plain_file import read_file

_COMPILED = "__pycache__"


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
            data = read_file(folder / name)
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
