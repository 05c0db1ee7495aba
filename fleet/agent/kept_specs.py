"""What containers were made from, on the disk for as long as those containers exist.

A device may go back to a container that is no longer ordered, and the policy of its owner counts for that one, too.
"""

from __future__ import annotations

import msgspec
import structlog

from fleet.agent.kept_files import KeptFiles
from fleet.contract.containers import spec_hash
from fleet.contract.parsing import NOT_JSON
from fleet.contract.pod import Member
from fleet.contract.wire import Container
from fleet.contract.workload import Container2
from fleet.process.plain_file import read_file

_log = structlog.stdlib.get_logger()
_Kept = Container | Container2 | Member


class KeptSpecs(KeptFiles):
    """Readable by root only, since an environment may hold secrets."""

    def put(self, deployment: str, workload: Container) -> None:
        """Keep it, as far as the disk lets it."""
        spec = spec_hash(workload)
        if self.path(deployment, spec).exists():
            return
        try:
            self.write(deployment, spec, msgspec.json.encode(workload))
        except OSError as error:
            _log.warning("what a container is made from is not kept", deployment=deployment, why=str(error))

    def get(self, deployment: str, spec: str) -> Container | None:
        """What was kept; None if nothing was, if it cannot be read, or if it is not what its name says."""
        try:
            workload: Container = msgspec.json.decode(read_file(self.path(deployment, spec)), type=_Kept)
        except (OSError, *NOT_JSON):
            return None
        return workload if spec_hash(workload) == spec else None
