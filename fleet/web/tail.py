"""What changes, line by line: the newest lines are kept, each with a number that never comes again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from fleet.contract.printable import one_line

KEPT = 2_000
"""Lines that a page may still ask for."""
_LONGEST = 300
"""Characters of a line's text; the rest is cut, and said to be."""


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One change. `at` is Unix seconds of this machine; `source` a bucket of NATS or a kind of Kubernetes."""

    number: int
    at: float
    source: str
    device: str
    text: str


class Tail:
    """The newest lines."""

    def __init__(self) -> None:
        """There are none."""
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self.last = 0

    def add(self, at: float, source: str, device: str, text: str) -> None:
        """Keep another line; text from outside is shown as what it is."""
        shown = one_line(text)
        cut = f"{shown[:_LONGEST]}… ({len(text)} characters)" if len(shown) > _LONGEST else shown
        self.last += 1
        self._lines.append(Line(self.last, at, source, one_line(device)[:80], cut))

    def since(self, number: int, most: int) -> tuple[list[Line], int]:
        """The newest lines after `number`, at most so many, and how many there were that are left out."""
        wanted = self.last - number
        taken = min(max(wanted, 0), most, len(self._lines))
        found = [self._lines[index] for index in range(len(self._lines) - taken, len(self._lines))]
        return found, max(wanted, 0) - taken

    def of(self, device: str, most: int) -> Iterator[Line]:
        """The newest lines of one device, the newest first."""
        for line in reversed(self._lines):
            if line.device == device:
                yield line
                most -= 1
                if not most:
                    return
