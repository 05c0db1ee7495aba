"""Limits the log lines of each cause: someone outside can repeat a logged event without end."""

from __future__ import annotations

from collections.abc import Hashable

MOST = 100
"""Lines of one kind in a window."""
WINDOW = 60.0
"""Seconds."""
_KINDS = 10_000
"""Kinds that are counted; with more of them, all counts start at zero again."""


class Sampler:
    """Lets the first `MOST` events of each kind through in every window, and counts the others."""

    def __init__(self) -> None:
        self._windows: dict[Hashable, tuple[float, int]] = {}

    def take(self, kind: Hashable, now: float) -> int | None:
        """Whether an event at `now` (monotonic seconds) is to be logged.

        Returns:
            How many events of the kind were not told before this one, or None when this one is not told either.
        """
        began, seen = self._windows.get(kind, (now, 0))
        untold = 0
        if now - began >= WINDOW:
            began, seen, untold = now, 0, max(0, seen - MOST)
        if kind not in self._windows and len(self._windows) >= _KINDS:
            self._windows.clear()
        self._windows[kind] = (began, seen + 1)
        return untold if seen < MOST else None
