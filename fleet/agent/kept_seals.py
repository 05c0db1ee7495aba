"""What is sealed for the files of containers, on the disk for as long as those containers exist.

A container that the device went back to is no longer ordered, and a reboot takes its files, which were in memory.
"""

from __future__ import annotations

import msgspec
import structlog

from fleet.agent.kept_files import KeptFiles
from fleet.contract.mounts import File
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import Sealed
from fleet.process.plain_file import read_file

_log = structlog.stdlib.get_logger()


class SealedFiles(msgspec.Struct, frozen=True):
    """The files from Secrets of one container by their numbers, none in clear; `member` is its name in its pod."""

    sealed: Sealed
    files: dict[int, File]
    member: str = ""


class KeptSeals(KeptFiles):
    """They help, and the agent can do without them."""

    def put(self, deployment: str, spec: str, kept: SealedFiles) -> None:
        """Keep it, as far as the disk lets it."""
        if self.get(deployment, spec) == kept:
            return
        try:
            self.write(deployment, spec, msgspec.json.encode(kept))
        except OSError as error:
            _log.warning("what is sealed is not kept for the way back", deployment=deployment, why=str(error))

    def get(self, deployment: str, spec: str) -> SealedFiles | None:
        """What was kept; None if nothing was, or if it cannot be read."""
        try:
            return msgspec.json.decode(read_file(self.path(deployment, spec)), type=SealedFiles)
        except (OSError, *NOT_JSON):
            return None
