"""Pauses that grow with each failure, with jitter, so that a fleet does not retry in step."""

from __future__ import annotations

import random


def pause(first: float, longest: float, failures: int) -> float:
    """Seconds to wait after `failures` earlier ones: the bound doubles up to `longest`; drawn from its upper half."""
    bound = min(longest, first * 2.0 ** min(failures, 32))
    return random.uniform(bound / 2, bound)  # noqa: S311 - nothing secret depends on it


class Backoff:
    """Counts the failures for `pause`."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def next(self) -> float:
        """The pause after one more failure."""
        self._failures += 1
        return pause(self._first, self._longest, self._failures - 1)

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._failures = 0
