"""Devices that keep NATS busy with what is no message, such as subscriptions that it refuses: NATS counts none of them.

A session's time of last activity moves with each message, and with each subscription that is asked for or ended, be it
refused or not. Whose session was active just before nearly every look, more often than its messages explain, asks for
subscriptions without end. nats-server writes a line of its log for each that it refuses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from fleet.operator.meter import BUSY, Flood
from fleet.operator.session_limit import Session
from fleet.operator.traffic import Sent

_UNCOUNTED = 0.2
"""Subscriptions between two looks that an honest device may begin or end; a message may be late, too."""
_SHORTEST = 0.001
"""Shortest time without activity, in seconds, that counts as idle."""
_MOST = 8.0
"""What one look can add to the evidence: a single one proves nothing."""
_DRIFT = 1.5
"""What each look takes from it. That of an honest device is 1 on average."""
_ENOUGH = 50.0
"""With messages at random moments, one look of honest devices in 5e12 comes so far: a sum of evidence that is
distributed exponentially, less the drift d, passes h with exp(-θh), where exp(-dθ) = 1 - θ."""


class Activity:
    """What sessions did from one look to the next. The looks must be at random moments: beats are regular."""

    def __init__(self) -> None:
        self._before: dict[Session, int] = {}
        self._at = 0.0
        self._evidence: dict[str, float] = {}
        self._since: dict[str, float] = {}

    def seen(self, sessions: Sequence[Sent], now: float) -> list[Flood]:
        """The devices whose activity their traffic has not explained for too long; `now` is in monotonic seconds."""
        before, seconds = self._before, now - self._at
        self._before, self._at = {sent.session: sent.exchanged for sent in sessions}, now
        messages, silence = Counter[str](), dict[str, float]()
        for sent in sessions:
            # The first subscriptions of a session are in order.
            if sent.session in before:
                messages[sent.device] += sent.exchanged - before[sent.session]
                silence[sent.device] = min(silence.get(sent.device, math.inf), sent.idle)
        floods: list[Flood] = []
        for device in {*self._evidence, *silence}:
            chance = _chance(messages[device], silence.get(device, math.inf), seconds)
            evidence = self._evidence.get(device, 0.0) + min(_MOST, -math.log(chance)) - _DRIFT
            if evidence > 0:
                self._evidence[device] = evidence
                self._since.setdefault(device, now - seconds)
            if evidence > _ENOUGH:
                floods.append(Flood(device, 0, 0, self._since[device], now - self._since[device], did=BUSY))
            if not 0 < evidence <= _ENOUGH:
                self._evidence.pop(device, None)
                self._since.pop(device, None)
        return floods


def _chance(messages: int, silence: float, seconds: float) -> float:
    """How probable it is that the last of so many messages at random moments in `seconds` was so short ago."""
    rate = (messages + _UNCOUNTED) / max(seconds, _SHORTEST)
    return -math.expm1(-rate * max(silence, _SHORTEST)) or 1.0
