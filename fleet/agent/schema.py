"""The form of what agents keep on a device: an agent that is older than what lies there says so, and guesses nothing.

The journal and the last desired state carry one number, `STATE_SCHEMA` of the agent that wrote them.
"""

from __future__ import annotations

import msgspec

from fleet.agent.place import Place
from fleet.agent.upgrade.room import Room


class _Form(msgspec.Struct):
    schema: int = 1


def form_of(data: bytes) -> int:
    """The form that a file says it has; 1 for one that says none, or that nobody can read."""
    try:
        return msgspec.json.decode(data, type=_Form).schema
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 1


def on_disk(place: Place) -> int:
    """The newest form of the files that are there."""
    return max(form_of(path.read_bytes()) if path.is_file() else 1 for path in (place.state, Room(place.root).journal))
