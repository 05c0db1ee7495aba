"""Why a deployment is not as it should be."""

from __future__ import annotations

import msgspec

from fleet.contract.wire import Reason

MESSAGE_LIMIT = 500
"""Characters of a reported message; an engine or a parser may quote a megabyte."""


class Problem(msgspec.Struct, frozen=True):
    """Why the actual state differs from the desired one."""

    reason: Reason
    message: str

    def __post_init__(self) -> None:
        """Cut a message that is too long to read, and replace characters that JSON cannot carry (lone surrogates)."""
        text = self.message.encode(errors="replace").decode()
        shown = text if len(text) <= MESSAGE_LIMIT else f"{text[: MESSAGE_LIMIT - 3]}..."
        msgspec.structs.force_setattr(self, "message", shown)


class WentBack(Problem, frozen=True):
    """Why a replacement did not start; the attempt stopped the old container, so it is not repeated soon."""


class Waits(Problem, frozen=True):
    """What a workload waits for; nothing has failed."""
