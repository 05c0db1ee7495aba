"""Who may write what a program of ours makes: never others, whatever umask it was started with."""

from __future__ import annotations

import os
from pathlib import Path

_PUBLIC_FOLDER = 0o755


def tighten() -> None:
    """Take from group and others the right to write what this process and its children make from here on."""
    os.umask(os.umask(0o022) | 0o022)


def make_folders(folder: Path, mode: int = _PUBLIC_FOLDER) -> None:
    """Make a folder, with `mode`, and those above it that are missing, with 0755; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_folders(folder.parent)
    try:
        folder.mkdir(mode)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return  # somebody else has just made it
    folder.chmod(mode)
