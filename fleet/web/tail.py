"""What changes, line by line: the newest lines are kept, each with a number that never comes again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from fleet.contract.printable import one_line

KEPT = 2_000
"""Lines that a page may still ask for."""
OF_A_DEVICE = 20
"""Lines of a device that are kept, however much others change."""
_OF_DEVICES = 50_000
"""Lines of all devices that are kept for their own screens; those of the device that changed longest ago go first."""
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
        self._own: dict[str, deque[Line]] = {}
        self._number_of_own = 0
        self.last = 0

    def add(self, at: float, source: str, device: str, text: str) -> None:
        """Keep another line; text from outside is shown as what it is."""
        shown = one_line(text)
        cut = f"{shown[:_LONGEST]}… ({len(text)} characters)" if len(shown) > _LONGEST else shown
        self.last += 1
        line = Line(self.last, at, source, one_line(device)[:80], cut)
        self._lines.append(line)
        if device:
            self._keep(line)

    def _keep(self, line: Line) -> None:
        # The device that changed last stands last.
        own = self._own.pop(line.device, None) or deque(maxlen=OF_A_DEVICE)
        self._own[line.device] = own
        self._number_of_own += len(own) < OF_A_DEVICE
        own.append(line)
        while self._number_of_own > _OF_DEVICES:
            self.forget(next(iter(self._own)))

    def forget(self, device: str) -> None:
        """A device is gone; one that comes by the same name has a past of its own."""
        self._number_of_own -= len(self._own.pop(device, ()))

    def since(self, number: int, most: int) -> tuple[list[Line], int]:
        """The newest lines after `number`, at most so many, and how many there were that are left out."""
        wanted = self.last - number
        taken = min(max(wanted, 0), most, len(self._lines))
        found = [self._lines[index] for index in range(len(self._lines) - taken, len(self._lines))]
        return found, max(wanted, 0) - taken

    def of(self, device: str) -> Sequence[Line]:
        """The newest lines of one device, the newest first."""
        return tuple(reversed(self._own.get(device, ())))
