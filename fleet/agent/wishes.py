"""What the device is asked to run, as far as it could be understood."""

from __future__ import annotations

import msgspec

from fleet.contract.wire import Reason, Workload

MESSAGE_LIMIT = 500
"""Characters of a reported message; an engine or a parser may quote a megabyte."""


class Problem(msgspec.Struct, frozen=True):
    """Why something is not as wished."""

    reason: Reason
    message: str

    def __post_init__(self) -> None:
        """Cut a message that nobody would read to its end, and replace what JSON cannot carry (lone surrogates)."""
        text = self.message.encode(errors="replace").decode()
        shown = text if len(text) <= MESSAGE_LIMIT else f"{text[: MESSAGE_LIMIT - 3]}..."
        msgspec.structs.force_setattr(self, "message", shown)


class WentBack(Problem, frozen=True):
    """Why a replacement did not start; what ran before was stopped for the attempt, so it is not repeated soon."""


class Wish(msgspec.Struct, frozen=True, omit_defaults=True):
    """One deployment. With a `problem`, `workload` is the last one that was understood, and goes on."""

    generation: int
    workload: Workload | None = None
    problem: Problem | None = None


Wishes = dict[str, Wish]
"""By deployment. A deployment that is not in it is removed from the device."""
