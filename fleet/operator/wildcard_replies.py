"""Which device sent a reply-to with a wildcard: no agent sends one, and it takes NATS' processor (decision 100).

Where the subject names its device, that one did. A shared read names none, so it is heard twice: as it was sent, and
as a request that says whose it is. Both are heard at about the same time, but two devices may ask for the same at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from fleet.contract.limits import OneDay
from fleet.contract.sent import original, sender

LATE = 0.1
"""Seconds after which the request that belongs to a reply-to was heard."""
_WINDOW = 0.25
"""Seconds before a reply-to within which its request may have been heard."""
_KEPT = 1.0
"""Seconds for which requests are kept, and at most as long again."""
_MOST = 4 * 1024 * 1024
_ENTRY = 200
"""Bytes of requests that are kept, and of each besides its subject. Beyond them nobody is accused, for the one that it
was may be missing; a device that has so much to ask floods."""
_MOST_OPEN = 1_000
"""Subjects that wait to be judged."""
_ENOUGH = 3
_SHARE = 4
"""How many reply-tos are put down to a device before it is accused, and of how many it must be at least one: requests
that were heard late may point to another device now and then."""


class _Requests:
    """Who asked for what, and when last; `full` when something was left out."""

    def __init__(self, now: float) -> None:
        self.begun = now
        self.full = False
        self._last: dict[bytes, dict[str, float]] = {}
        self._size = 0

    def add(self, subject: bytes, device: str, now: float) -> None:
        self._size += len(subject) + _ENTRY if device not in self._last.get(subject, ()) else 0
        self.full = self.full or self._size > _MOST
        if not self.full:
            self._last.setdefault(subject, {})[device] = now

    def since(self, subject: bytes, moment: float) -> set[str]:
        return {device for device, last in self._last.get(subject, {}).items() if last >= moment}


class WildcardReplies:
    """Hears both, with monotonic seconds, and calls `found` with each device that is accused."""

    def __init__(self, found: Callable[[str], None]) -> None:
        self._found = found
        self._requests = self._before = _Requests(0.0)
        self._open: dict[bytes, float] = {}
        self._strikes = Counter[str]()
        self._judged = 0
        self._counted_since = 0.0

    def asked(self, subject: bytes, device: str, now: float) -> None:
        """A device made the shared read `subject`."""
        if now - self._requests.begun > _KEPT:
            old, self._requests = self._requests, _Requests(now)
            self._before = old if now - old.begun < 2 * _KEPT else _Requests(now)
        self._requests.add(subject, device, now)

    def sent(self, heard: bytes, reply: bytes, now: float) -> bool:
        """Something was published, with this reply-to; whether to call `judge` in `LATE` seconds."""
        if b"*" not in reply and b">" not in reply:
            return False
        subject = original(heard)
        if device := sender(subject):
            self._found(device)
            return False
        begins = not self._open
        if len(self._open) < _MOST_OPEN:
            self._open.setdefault(subject, now)
        return begins

    def judge(self, now: float) -> None:
        """Whose reply-tos those were that wait."""
        opened, self._open = self._open, {}
        if now - self._counted_since > OneDay:
            self._begin(now)
        self._judged += len(opened)
        for subject, first in opened.items():
            possible = self._requests.since(subject, first - _WINDOW) | self._before.since(subject, first - _WINDOW)
            if len(possible) == 1 and not (self._requests.full or self._before.full):
                self._strikes[possible.pop()] += 1
        device, strikes = max(self._strikes.items(), key=lambda item: item[1], default=("", 0))
        if strikes >= _ENOUGH and strikes * _SHARE >= self._judged:
            self._begin(now)
            self._found(device)

    def _begin(self, now: float) -> None:
        self._strikes.clear()
        self._judged, self._counted_since = 0, now
