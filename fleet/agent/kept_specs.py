"""What containers were made from, on the disk for as long as those containers exist.

A device may go back to a container that is no longer ordered, and the policy of its owner counts for that one, too.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec
import structlog

from fleet.contract.containers import spec_hash
from fleet.contract.parsing import NOT_JSON
from fleet.contract.pod import Member
from fleet.contract.wire import Container
from fleet.contract.workload import Container2
from fleet.process.durable import replace_file
from fleet.process.umask import make_folders

_log = structlog.stdlib.get_logger()
_Kept = Container | Container2 | Member


class KeptSpecs:
    """One file each, mode 0600 since an environment may hold secrets: `<folder>/<deployment>/<spec hash>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, deployment: str, workload: Container) -> None:
        """Keep it, as far as the disk lets it."""
        path = self._folder / deployment / spec_hash(workload)
        if path.exists():
            return
        try:
            make_folders(path.parent, 0o700)
            replace_file(path, msgspec.json.encode(workload), 0o600)
        except OSError as error:
            _log.warning("what a container is made from is not kept", deployment=deployment, why=str(error))
            for folder in (path.parent, self._folder):
                with contextlib.suppress(OSError):  # others are in it
                    folder.rmdir()

    def get(self, deployment: str, spec: str) -> Container | None:
        """What was kept; None if nothing was, if it cannot be read, or if it is not what its name says."""
        try:
            data = (self._folder / deployment / spec).read_bytes()
            found: Container = msgspec.json.decode(data, type=_Kept)
        except (OSError, *NOT_JSON):
            return None
        return found if spec_hash(found) == spec else None

    def keep(self, deployment: str, specs: Collection[str]) -> None:
        """Remove what is kept of all other containers of a deployment."""
        folder = self._folder / deployment
        with contextlib.suppress(OSError):
            for one in folder.iterdir():
                if one.name not in specs:
                    one.unlink()
        if not specs:
            shutil.rmtree(folder, ignore_errors=True)
