"""Whether what a run made outlives it, decided at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class Detachable(Protocol):
    """Something that runs, and may do so without us."""

    def detach(self) -> None: ...  # noqa: D102 - let it live on
    def close(self) -> None: ...  # noqa: D102 - end it


class Keep(msgspec.Struct, frozen=True):
    """What `--fleet-keep` says.

    Attributes:
        may: Whether anything may be kept: what is started then must be able to outlive the run.
        now: Whether it is, asked at the end.
    """

    may: bool = False
    now: Callable[[], bool] = lambda: False

    def unless(self, end: Callable[..., object], *arguments: object) -> None:
        """Call `end`, unless everything is kept."""
        if not self.now():
            end(*arguments)

    def end(self, running: Detachable) -> None:
        """Let something live on, or end it."""
        if self.now():
            running.detach()
        else:
            running.close()


NEVER = Keep()
ALWAYS = Keep(may=True, now=lambda: True)
