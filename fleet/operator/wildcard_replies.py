"""Which device sent a reply-to with a wildcard: no agent sends one, and it takes NATS' processor (decision 100).

Where the subject names its device, that one did. A shared read names none, so it is heard twice: as it was sent, and
as a request that says whose it is. Both are heard at about the same time, but two devices may ask for the same at once.
An agent lets each answer come to its own inbox, which is named after its device. So of several that made the same read
those come into question that made more requests than such reply-tos were heard: no stolen device hides another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from fleet.contract.limits import OneDay
from fleet.contract.sent import inbox_owner, original, sender

LATE = 0.1
"""Seconds after which the request that belongs to a reply-to was heard."""
_WINDOW = 0.25
"""Seconds before a reply-to within which its request may have been heard."""
_KEPT = 1.0
"""Seconds for which requests are kept, and at most as long again."""
_MOST = 4 * 1024 * 1024
_ENTRY, _MOMENT = 200, 40
"""Bytes of requests that are kept, of a device's first for a subject, and of each. Beyond them nobody is accused, for
the one that it was may be missing; a device that has so much to ask floods."""
_MOST_OPEN = 1_000
"""Subjects that wait to be judged."""
_ENOUGH = 3
_SHARE = 4
"""How many reply-tos are put down to a device before it is accused, and of how many it must be at least one: requests
that were heard late may point to another device now and then."""
_ENOUGH_TOGETHER = 30
"""The same where several devices made the same read: what belongs to a request may be heard late, too."""


class _Reads(msgspec.Struct):
    """When a device asked for a subject, and when reply-tos at its own inbox were heard, by whomever."""

    asked: list[float] = []
    own: list[float] = []


class _Requests:
    """Who asked for what, and when; `full` when something was left out. Subjects are hashes: they may be long."""

    def __init__(self, now: float) -> None:
        self.begun = now
        self.full = False
        self._reads: dict[int, dict[str, _Reads]] = {}
        self._size = 0

    def asked(self, subject: bytes, device: str, now: float) -> None:
        if reads := self._reads_of(subject, device):
            reads.asked.append(now)

    def own(self, subject: bytes, device: str, now: float) -> None:
        if reads := self._reads_of(subject, device):
            reads.own.append(now)

    def _reads_of(self, subject: bytes, device: str) -> _Reads | None:
        devices = self._reads.get(hash(subject), {})
        self._size += _MOMENT if device in devices else _ENTRY
        self.full = self.full or self._size > _MOST
        return None if self.full else self._reads.setdefault(hash(subject), devices).setdefault(device, _Reads())

    def count(self, subject: int, moment: float, asked: Counter[str], own: Counter[str]) -> None:
        """Add how often each device asked since then, and how many reply-tos at its own inbox were heard."""
        for device, reads in self._reads.get(subject, {}).items():
            asked[device] += sum(at >= moment for at in reads.asked)
            own[device] += sum(at >= moment for at in reads.own)


class WildcardReplies:
    """Hears both, with monotonic seconds, and calls `found` with each device that is accused."""

    def __init__(self, found: Callable[[str], None]) -> None:
        self._found = found
        self._requests = self._before = _Requests(0.0)
        self._open: dict[int, float] = {}
        self._strikes = Counter[str]()
        self._strikes_together = Counter[str]()
        self._judged = 0
        self._counted_since = 0.0

    def asked(self, subject: bytes, device: str, now: float) -> None:
        """A device made the shared read `subject`."""
        self._forget(now)
        self._requests.asked(subject, device, now)

    def sent(self, heard: bytes, reply: bytes, now: float) -> bool:
        """Something was published, with this reply-to; whether to call `judge` in `LATE` seconds."""
        if b"*" not in reply and b">" not in reply:
            if owner := inbox_owner(heard, reply):
                self._forget(now)
                self._requests.own(original(heard), owner, now)
            return False
        subject = original(heard)
        if device := sender(subject):
            self._found(device)
            return False
        begins = not self._open
        if len(self._open) < _MOST_OPEN:
            self._open.setdefault(hash(subject), now)
        return begins

    def _forget(self, now: float) -> None:
        if now - self._requests.begun > _KEPT:
            old, self._requests = self._requests, _Requests(now)
            self._before = old if now - old.begun < 2 * _KEPT else _Requests(now)

    def judge(self, now: float) -> None:
        """Whose reply-tos those were that wait."""
        opened, self._open = self._open, {}
        if now - self._counted_since > OneDay:
            self._begin(now)
        self._judged += len(opened)
        for subject, first in opened.items():
            self._strike(subject, first - _WINDOW)
        for strikes, enough in ((self._strikes, _ENOUGH), (self._strikes_together, _ENOUGH_TOGETHER)):
            device, number = max(strikes.items(), key=lambda item: item[1], default=("", 0))
            if number >= enough and number * _SHARE >= self._judged:
                self._begin(now)
                self._found(device)

    def _strike(self, subject: int, moment: float) -> None:
        asked, own = Counter[str](), Counter[str]()
        for requests in (self._requests, self._before):
            if requests.full:
                return
            requests.count(subject, moment, asked, own)
        possible = [device for device, number in asked.items() if number]
        if len(possible) == 1:
            self._strikes.update(possible)
        else:
            self._strikes_together.update(device for device in possible if asked[device] > own[device])

    def _begin(self, now: float) -> None:
        self._strikes.clear()
        self._strikes_together.clear()
        self._judged, self._counted_since = 0, now
