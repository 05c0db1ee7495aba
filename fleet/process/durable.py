"""Files that a power cut leaves whole, as they were or as they shall be.

The launcher has a copy of its own, since it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path


def replace_file(path: Path, data: bytes, mode: int, *, shared: bool = False) -> None:
    """Put `data` at `path`; after it returns, a power cut does not lose it.

    The data is written beside the file and synced, the file renamed and its folder synced.

    Args:
        path: The file, in a folder that is there.
        data: What it holds then.
        mode: Its permissions.
        shared: Whether others may write it at the same moment. The draft then has a name of its own, and a power cut
            may leave it.

    Raises:
        OSError: it could not be written; what was there still is.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new" if shared else f".{path.name}.new")
    try:
        _write_draft(draft, data, mode, os.O_TRUNC)
        draft.replace(path)
        sync(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Put `data` at `path`, where nothing is, as a whole or not at all.

    Raises:
        FileExistsError: something is there.
        OSError: it could not be written; nothing is left of it.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        _write_draft(draft, data, mode, os.O_EXCL)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        draft.rename(path)
        sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _write_draft(draft: Path, data: bytes, mode: int, how: int) -> None:
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | how, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Have what a file or folder holds written to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
