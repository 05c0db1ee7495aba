"""The files of a workload: what is in the deployment lies on the disk, and what is from Secrets in memory.

What the workload is lies beside them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fleet.agent.files import Files
from fleet.agent.kept_seals import KeptSeals, SealedFiles
from fleet.agent.kept_specs import KeptSpecs
from fleet.agent.memory import MOUNTS, disk_below
from fleet.agent.paths import AgentPaths
from fleet.agent.sealing import Sealing, Unopened, member_name
from fleet.contract.containers import spec_hash
from fleet.contract.sealed import Sealed
from fleet.contract.wire import Container


class WorkloadFiles:
    """Both kinds of one device. The second is gone after a reboot, and is written anew from what is sealed."""

    def __init__(self, place: AgentPaths, sealing: Sealing) -> None:
        self._plain, self._secret = Files(place.files), Files(place.secret_files)
        self._seals = KeptSeals(place.kept_seals)
        self._specs = KeptSpecs(place.kept_specs)
        self._in_memory = place.secret_files
        self._is_device = place.root == Path("/")  # a test's device has its /run on this machine's disk
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
        self._specs.put(deployment, workload)
        numbered = list(enumerate(workload.files))
        plain = {number: (file, file.content.encode()) for number, file in numbered if not file.secret}
        self._plain.write(deployment, spec, plain)
        secret = {number: file for number, file in numbered if file.secret}
        if not secret or (sealed is None and not self._secret.lacks(deployment, spec)):
            return
        if sealed is None:
            raise Unopened(f"nothing is sealed for {deployment}, which takes secrets", next_step="apply it again")
        sealed_files = SealedFiles(sealed, secret, member_name(workload))
        await self._fill(deployment, spec, sealed_files)
        self._seals.put(deployment, spec, sealed_files)

    def made_from(self, deployment: str, spec: str) -> Container | None:
        """What a container was made from; None where an agent of a former release made it."""
        return self._specs.get(deployment, spec)

    def may_lack(self, deployment: str) -> bool:
        """Whether containers of a deployment take files from Secrets."""
        return self._seals.has(deployment)

    async def restore(self, deployment: str, spec: str) -> None:
        """Make the files from Secrets be there again of a container that is no longer ordered; raises as `write`."""
        if (kept := self._seals.get(deployment, spec)) is not None:
            await self._fill(deployment, spec, kept)

    async def _fill(self, deployment: str, spec: str, kept: SealedFiles) -> None:
        if not self._secret.lacks(deployment, spec):
            return
        if self._is_device and (kind := disk_below(self._in_memory, MOUNTS.read_text())):
            raise OSError(
                f"{self._in_memory} is on {kind}, and secrets are written to memory alone: mount a tmpfs at /run"
            )
        contents = (await self._sealing.contents(deployment, kept.member, kept.sealed)).files
        if missing := sorted({file.path for file in kept.files.values()} - contents.keys()):
            raise Unopened(f"what is sealed for {deployment} has no {missing[0]}", next_step="apply it again")
        filled = {number: (file, contents[file.path]) for number, file in kept.files.items()}
        self._secret.write(deployment, spec, filled)

    def keep(self, deployment: str, specs: Collection[str]) -> None:
        """Remove the files of all other workloads of a deployment, which no container has."""
        self._plain.keep(deployment, specs)
        self._secret.keep(deployment, specs)
        self._seals.keep(deployment, specs)
        self._specs.keep(deployment, specs)
