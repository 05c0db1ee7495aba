"""The files of workloads on the device, from where the engine mounts them into containers."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from fleet.contract.mounts import File
from fleet.process.durable import sync
from fleet.process.umask import make_folders


class Files:
    """Files by deployment and workload: `<folder>/<deployment>/<spec hash>/<number>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, deployment: str, spec: str) -> Path:
        """The folder of one workload's files."""
        return self._folder / deployment / spec

    def lacks(self, deployment: str, spec: str) -> bool:
        """Whether the files of a workload are not there."""
        return not self.of(deployment, spec).is_dir()

    def write(self, deployment: str, spec: str, files: Mapping[int, tuple[File, bytes]]) -> None:
        """Make the files be there, with their contents, each under its number.

        Those that are there are as they should be, for their folder's name says so.

        Raises:
            OSError: they cannot be written; nothing is left half done.
        """
        folder = self.of(deployment, spec)
        if not files or not self.lacks(deployment, spec):
            return
        make_folders(folder.parent, 0o700)
        draft = folder.with_name(f".new-{spec}")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir(0o700)
            for number, (file, content) in files.items():
                _write(draft / str(number), file, content)
            # Its name says that all of it is there, so a power cut must not keep the name alone.
            sync(draft)
            draft.rename(folder)
            sync(folder.parent)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def keep(self, deployment: str, specs: Collection[str]) -> None:
        """Remove the files of all other workloads of a deployment, which no container has."""
        folder = self._folder / deployment
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                if path.name not in specs:
                    shutil.rmtree(path, ignore_errors=True)
            if not specs:
                folder.rmdir()


def _write(path: Path, file: File, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as target:
        target.write(content)
        # Without root, the agent's own user is root of its containers.
        if os.geteuid() == 0 or file.user or file.group:
            os.fchown(handle, file.user, file.group)
        os.fchmod(handle, int(file.mode, 8))
        target.flush()
        os.fsync(handle)
