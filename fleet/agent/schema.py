"""The form of what agents keep on a device: an agent that is older than what lies there says so, and guesses nothing.

The journal and the last desired state carry one number, `STATE_SCHEMA` of the agent that wrote them.
"""

from __future__ import annotations

import msgspec

from fleet.agent.paths import AgentPaths
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.contract.parsing import NOT_JSON
from fleet.process.plain_file import read_file


class _Form(msgspec.Struct):
    schema: int = 1


def form_of(data: bytes) -> int:
    """The schema number of a file; 1 if it has none, or cannot be read."""
    try:
        return msgspec.json.decode(data, type=_Form).schema
    except NOT_JSON:
        return 1


def on_disk(paths: AgentPaths) -> int:
    """The newest form of the files that are there."""
    return max(
        form_of(read_file(path)) if path.is_file() else 1 for path in (paths.state, VersionStore(paths.root).journal)
    )
