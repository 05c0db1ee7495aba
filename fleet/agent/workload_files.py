"""The files of a workload: what is in the deployment lies on the disk, and what is from Secrets in memory."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fleet.agent.files import Files
from fleet.agent.sealing import Sealing, Unopened
from fleet.contract.containers import spec_hash
from fleet.contract.sealed import Sealed
from fleet.contract.wire import Container


class WorkloadFiles:
    """Both kinds of one device. The second is gone after a reboot, and is written anew from what is sealed."""

    def __init__(self, files: Path, secret_files: Path, sealing: Sealing) -> None:
        self._plain, self._secret = Files(files), Files(secret_files)
        self._sealing = sealing

    def of(self, deployment: str, workload: Container) -> tuple[Path, Path]:
        """The folders of a workload: that on the disk, and that in memory."""
        spec = spec_hash(workload)
        return self._plain.of(deployment, spec), self._secret.of(deployment, spec)

    async def write(self, deployment: str, workload: Container, sealed: Sealed | None) -> None:
        """Make the files be there.

        Raises:
            OSError: they cannot be written; nothing is left half done.
            Unopened: what is sealed does not open.
        """
        spec = spec_hash(workload)
        numbered = list(enumerate(workload.files))
        plain = {number: (file, file.content.encode()) for number, file in numbered if not file.secret}
        self._plain.write(deployment, spec, plain)
        secret = {number: file for number, file in numbered if file.secret}
        if secret and self._secret.lacks(deployment, spec):
            contents = (await self._sealing.contents(deployment, workload, sealed)).files
            if missing := sorted({file.path for file in secret.values()} - contents.keys()):
                raise Unopened(f"what is sealed for {deployment} has no {missing[0]}", next_step="apply it again")
            filled = {number: (file, contents[file.path]) for number, file in secret.items()}
            self._secret.write(deployment, spec, filled)

    def keep(self, deployment: str, specs: Collection[str]) -> None:
        """Remove the files of all other workloads of a deployment, which no container has."""
        self._plain.keep(deployment, specs)
        self._secret.keep(deployment, specs)
