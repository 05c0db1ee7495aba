"""Files about containers, on the disk for as long as those containers exist."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path

from fleet.process.durable import replace_file
from fleet.process.umask import make_folders


class KeptFiles:
    """One file for each container, mode 0600: `<folder>/<deployment>/<spec hash>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, deployment: str, spec: str) -> Path:
        """Where the file of a container is, or would be."""
        return self._folder / deployment / spec

    def write(self, deployment: str, spec: str, data: bytes) -> None:
        """Keep it.

        Raises:
            OSError: the disk does not let it; no empty folder is left.
        """
        path = self.path(deployment, spec)
        try:
            make_folders(path.parent, 0o700)
            replace_file(path, data, 0o600)
        except OSError:
            for folder in (path.parent, self._folder):
                with contextlib.suppress(OSError):  # others are in it
                    folder.rmdir()
            raise

    def has(self, deployment: str) -> bool:
        """Whether anything is kept of a deployment."""
        return (self._folder / deployment).is_dir()

    def keep(self, deployment: str, specs: Collection[str]) -> None:
        """Remove what is kept of all other containers of a deployment."""
        folder = self._folder / deployment
        with contextlib.suppress(OSError):
            for file in folder.iterdir():
                if file.name not in specs:
                    file.unlink()
        if not specs:
            shutil.rmtree(folder, ignore_errors=True)
