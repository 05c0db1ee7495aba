"""What each device's sessions send, whatever it is: reads, what it may not publish, and writes, as NATS counts them.

The meter sees what is written. Reads are seen by nobody but NATS, and a device that asks for pieces of an agent without
pause, 128 KiB each, fills the server's memory with the answers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from fleet.contract.limits import BYTE_BURST, BYTE_RATE, MESSAGE_BURST, MESSAGE_RATE, TAKEN_BURST, TAKEN_RATE
from fleet.operator.meter import TOOK, Flood
from fleet.operator.session_limit import Session


class Sent(msgspec.Struct, frozen=True):
    """A device's session and its totals so far; `size` is the bytes that it sent, `taken` the bytes that it received.

    `exchanged` are messages both ways, `idle` the seconds since the last one, or since a subscription was asked for.
    """

    device: str
    session: Session
    messages: int = 0
    size: int = 0
    taken: int = 0
    exchanged: int = 0
    idle: float = math.inf


class _Taken(msgspec.Struct):
    """A bucket that empties at `TAKEN_RATE`, and since when it was not empty."""

    level: float
    since: float
    total: int = 0


class Traffic:
    """The traffic between two checks."""

    def __init__(self) -> None:
        self._before: dict[Session, Sent] = {}
        self._at: float | None = None
        self._taken: dict[str, _Taken] = {}

    def seen(self, sessions: Sequence[Sent], now: float) -> list[Flood]:
        """The devices that sent more than a device may since the last check; `now` is in monotonic seconds."""
        before, at = self._before, self._at
        self._before, self._at = {sent.session: sent for sent in sessions}, now
        if at is None:
            return []
        messages, sizes, taken = Counter[str](), Counter[str](), Counter[str]()
        for sent in sessions:
            old = before.get(sent.session, Sent(sent.device, sent.session))
            messages[sent.device] += sent.messages - old.messages
            sizes[sent.device] += sent.size - old.size
            taken[sent.device] += sent.taken - old.taken
        seconds = now - at
        return self._took_too_much(taken, seconds, now) + [
            Flood(device, messages[device], sizes[device], at, seconds, did="sent")
            for device in messages
            if messages[device] > MESSAGE_BURST + MESSAGE_RATE * seconds
            or sizes[device] > BYTE_BURST + BYTE_RATE * seconds
        ]

    def _took_too_much(self, taken: Counter[str], seconds: float, now: float) -> list[Flood]:
        """The devices that received more than a device needs, also slowly: few requests can have large answers."""
        floods: list[Flood] = []
        for device in {*self._taken, *(+taken)}:
            bucket = self._taken.setdefault(device, _Taken(0.0, now - seconds))
            bucket.level += taken[device] - TAKEN_RATE * seconds
            bucket.total += taken[device]
            if bucket.level > TAKEN_BURST:
                floods.append(Flood(device, 0, bucket.total, bucket.since, now - bucket.since, did=TOOK))
            if bucket.level <= 0 or bucket.level > TAKEN_BURST:
                del self._taken[device]
        return floods
