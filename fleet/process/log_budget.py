"""Limits the log lines of each cause: someone outside can repeat a logged event without end."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, MutableMapping
from typing import Any

import structlog

MOST = 100
"""Lines of one kind in a window."""
WINDOW = 60.0
"""Seconds."""
_KINDS = 10_000
"""Kinds that are counted; with more of them, all counts start at zero again."""


class Sampler:
    """Lets the first events of each kind through in every window, and counts the others."""

    def __init__(self, most: int = MOST) -> None:
        """So many of a kind in a window."""
        self._most = most
        self._windows: dict[Hashable, tuple[float, int]] = {}

    def take(self, kind: Hashable, now: float) -> int | None:
        """Whether an event at `now` (monotonic seconds) is to be logged.

        Returns:
            How many events of the kind were not told before this one, or None when this one is not told either.
        """
        began, seen = self._windows.get(kind, (now, 0))
        untold = 0
        if now - began >= WINDOW:
            began, seen, untold = now, 0, max(0, seen - self._most)
        if kind not in self._windows and len(self._windows) >= _KINDS:
            self._windows.clear()
        self._windows[kind] = (began, seen + 1)
        return untold if seen < self._most else None


KIND = "_kind"
"""The field of an event that is its kind, and is not logged; without it the kind is the event's text."""
_LINES, _LINES_OF_ALL = 20, 300
"""Lines in a window: of one kind, and of all together, so that no number of kinds is without a bound."""


class LineBudget:
    """Leaves out lines of a log that anybody outside can repeat; a line says in `left_out` how many before it.

    It is a processor of structlog.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` is monotonic, in seconds."""
        self._now = now
        self._kinds, self._all = Sampler(_LINES), Sampler(_LINES_OF_ALL)
        self._left_out = 0

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Take an event, or raise `structlog.DropEvent`."""
        now, kind = self._now(), event.pop(KIND, event.get("event"))
        if self._kinds.take(kind, now) is None or self._all.take("", now) is None:
            self._left_out += 1
            raise structlog.DropEvent
        if self._left_out:
            event["left_out"], self._left_out = self._left_out, 0
        return event
