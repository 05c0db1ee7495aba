"""A small file that helps an agent, and that it can do without: it is read and written as far as the disk lets it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from fleet.contract.parsing import NOT_JSON
from fleet.process.plain_file import read_file
from fleet.process.umask import make_folders

S = TypeVar("S", bound=msgspec.Struct)


def read_record(path: Path, kind: type[S]) -> S:
    """The record; an empty one if none can be read."""
    try:
        return msgspec.json.decode(read_file(path), type=kind)
    except (OSError, *NOT_JSON):
        return kind()


def write_record(path: Path, record: msgspec.Struct) -> None:
    """Replace the record; on a disk that cannot be written the old one stays, and no draft takes what others need."""
    draft = path.with_suffix(".new")
    try:
        make_folders(path.parent, 0o700)
        # The draft may be a named pipe, which would be waited for.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
        with os.fdopen(os.open(draft, flags, 0o666), "wb") as file:
            file.write(msgspec.json.encode(record))
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
