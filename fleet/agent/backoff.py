"""Waiting longer after every failure, with jitter: a fleet that retries in step is a storm."""

from __future__ import annotations

import random


class Backoff:
    """Waits in seconds that double from `first` to `longest`, each drawn from its upper half."""

    def __init__(self, first: float, longest: float) -> None:
        """Begin with the shortest wait."""
        self._first = first
        self._longest = longest
        self._failures = 0

    def next(self) -> float:
        """The wait after one more failure."""
        bound = min(self._longest, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return random.uniform(bound / 2, bound)  # noqa: S311 - nothing secret depends on it

    def reset(self) -> None:
        """Begin anew: it worked, or something else is tried."""
        self._failures = 0
