"""Where programs are found, also those of administrators."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

_ADMINISTRATORS = ("/usr/sbin", "/sbin")


def search_path() -> str:
    """PATH, with the folders where Debian has its daemons, which the PATH of a user may lack."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*folders, *(folder for folder in _ADMINISTRATORS if folder not in folders)])


def missing_packages(programs: Mapping[str, str], path: str | None = None) -> list[str]:
    """The packages, sorted, of those programs that are not there.

    Args:
        programs: The package of each program.
        path: Where to look; PATH if not given.
    """
    return sorted({package for program, package in programs.items() if shutil.which(program, path=path) is None})
