"""What is sealed for the files of containers, on the disk for as long as those containers exist.

A container that the device went back to is no longer ordered, and a reboot takes its files, which were in memory.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec
import structlog

from fleet.contract.mounts import File
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import Sealed
from fleet.process.durable import replace_file
from fleet.process.umask import make_folders

_log = structlog.stdlib.get_logger()


class SealedFiles(msgspec.Struct, frozen=True):
    """The files from Secrets of one container by their numbers, none in clear; `member` is its name in its pod."""

    sealed: Sealed
    files: dict[int, File]
    member: str = ""


class KeptSeals:
    """One file each: `<folder>/<deployment>/<spec hash>`. They help, and the agent can do without them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, deployment: str, spec: str, kept: SealedFiles) -> None:
        """Keep it, as far as the disk lets it."""
        if self.get(deployment, spec) == kept:
            return
        path = self._folder / deployment / spec
        try:
            make_folders(path.parent, 0o700)
            replace_file(path, msgspec.json.encode(kept), 0o600)
        except OSError as error:
            _log.warning("what is sealed is not kept for the way back", deployment=deployment, why=str(error))

    def get(self, deployment: str, spec: str) -> SealedFiles | None:
        """What was kept; None if nothing was, or if it cannot be read."""
        try:
            return msgspec.json.decode((self._folder / deployment / spec).read_bytes(), type=SealedFiles)
        except (OSError, *NOT_JSON):
            return None

    def has(self, deployment: str) -> bool:
        """Whether anything is kept of a deployment."""
        return (self._folder / deployment).is_dir()

    def keep(self, deployment: str, specs: Collection[str]) -> None:
        """Remove what is kept of all other containers of a deployment."""
        folder = self._folder / deployment
        with contextlib.suppress(OSError):
            for one in folder.iterdir():
                if one.name not in specs:
                    one.unlink()
        if not specs:
            shutil.rmtree(folder, ignore_errors=True)
