"""What changes, line by line: the newest lines are kept, each with a number that never comes again."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence

import msgspec

from fleet.contract.printable import one_line

KEPT = 2_000
"""Lines that a page may still ask for."""
_SHARE = KEPT // 20
"""Lines of one device, from which on a further one takes the place of its own oldest, and of no other device's."""
_SHARE_OF_ANSWER = 3
"""One device takes this part of an answer at most, as long as others fill the rest."""
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
        self._lines = OrderedDict[int, Line]()
        self._by_device: dict[str, deque[int]] = {}
        """The numbers of each device's lines among those."""
        self._own: dict[str, deque[Line]] = {}
        self._number_of_own = 0
        self.last = 0

    def add(self, at: float, source: str, device: str, text: str) -> None:
        """Keep another line; text from outside is shown as what it is."""
        shown = one_line(text)
        cut = f"{shown[:_LONGEST]}… ({len(text)} characters)" if len(shown) > _LONGEST else shown
        self.last += 1
        line = Line(self.last, at, source, one_line(device)[:80], cut)
        self._lines[line.number] = line
        self._by_device.setdefault(line.device, deque()).append(line.number)
        if len(self._lines) > KEPT:
            self._drop_for(line.device)
        if device:
            self._keep(line)

    def _drop_for(self, device: str) -> None:
        """Drop the oldest line of all. Of a device that has its share two go, its own: one that floods hides no other.

        With the second one it gives back what it took while nobody else changed.
        """
        own = self._by_device[device]
        if not device or len(own) <= _SHARE:
            self._drop(next(iter(self._lines)))
            return
        for _ in range(2):
            self._drop(own[0])

    def _drop(self, number: int) -> None:
        device = self._lines.pop(number).device
        self._by_device[device].popleft()
        if not self._by_device[device]:
            del self._by_device[device]

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
        """The newest lines after `number`, at most so many, and how many there were that are left out.

        Where there are more, those of the device with many are left out first.
        """
        share, held = max(1, most // _SHARE_OF_ANSWER), Counter[str]()
        found: list[Line] = []
        beyond: list[Line] = []
        for line in reversed(self._lines.values()):
            if line.number <= number or len(found) == most:
                break
            held[line.device] += 1
            (beyond if line.device and held[line.device] > share else found).append(line)
        found += beyond[: most - len(found)]
        found.sort(key=lambda line: line.number)
        return found, max(self.last - number, 0) - len(found)

    def of(self, device: str) -> Sequence[Line]:
        """The newest lines of one device, the newest first."""
        return tuple(reversed(self._own.get(device, ())))
