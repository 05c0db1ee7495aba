"""The files of folders that other processes work in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def folders_below(top: Path) -> Iterator[Path]:
    """Every folder below `top`, and itself, as far as they are there.

    A folder that is removed meanwhile is left out. `Path.rglob` raises FileNotFoundError for it (Python 3.11).
    """
    return (Path(folder) for folder, _, _ in os.walk(top))


def files_below(top: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file below `top`, not through links, and its status; one that is removed meanwhile is left out."""
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            yield path, status
