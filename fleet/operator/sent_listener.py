"""Hears what devices publish as they sent it, and reports those that do what no agent does (decision 100)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from fleet.contract.sent import ALL_SENT, SHARED_SERVICES, original, sender
from fleet.nats.bus import Delivery
from fleet.nats.headers import SERVER_ITSELF, requester
from fleet.operator.meter import TRACED, WILDCARD, Flood
from fleet.operator.reader import Reader
from fleet.operator.session_limit import Session
from fleet.operator.traces import tells_of_trace, traced
from fleet.operator.wildcard_replies import LATE, WildcardReplies

_AGAIN = 0.5
"""Seconds after which a device is reported again that goes on."""
_MOST = 10_000
"""Devices and sessions of which it is remembered when they were reported."""
_LOOKED_FOR = 6
"""How often the device of a session is looked for, every `_AGAIN` seconds: the session may just have begun."""


class SentListener:
    """In the reader's thread, on a connection of its own."""

    def __init__(self, reader: Reader, owner: Callable[[Session], str], flooded: Callable[[Flood], None]) -> None:
        """Both are called in the loop that made the reader; `owner` knows the device of a session, or says nothing."""
        self._reader = reader
        self._owner = owner
        self._flooded = flooded
        self._reported: dict[str | Session, float] = {}
        self._wildcards = WildcardReplies(lambda device: self._report(device, WILDCARD))

    async def follow(self) -> None:
        """Listen from now on.

        Raises:
            FleetError: NATS did not answer.
        """
        await self._reader.listen_apart({**dict.fromkeys(SHARED_SERVICES, self.asked), ALL_SENT: self.sent})

    def sent(self, delivery: Delivery) -> None:
        """Something was published, by whomever its subject names."""
        if self._wildcards.sent(delivery.subject, delivery.reply, time.monotonic()):
            self._reader.later(LATE, lambda: self._wildcards.judge(time.monotonic()))
        if (device := sender(original(delivery.subject))) and tells_of_trace(delivery):
            self._report(device, TRACED)

    def asked(self, delivery: Delivery) -> None:
        """A read came to STORE that names no device in its subject; what NATS itself publishes there comes too."""
        who = requester(delivery.headers)
        if who.user:
            self._wildcards.asked(delivery.subject, who.user, time.monotonic())
        elif who.kind == SERVER_ITSELF and (session := traced(delivery)) and self._is_new(session):
            self._reader.report(partial(self._look_for, session, _LOOKED_FOR))

    def _report(self, device: str, did: str) -> None:
        if self._is_new(device):
            self._reader.report(partial(self._tell, device, did))

    def _is_new(self, what: str | Session) -> bool:
        now = time.monotonic()
        if now - self._reported.get(what, -math.inf) < _AGAIN:
            return False
        if len(self._reported) >= _MOST:
            self._reported.clear()
        self._reported[what] = now
        return True

    def _look_for(self, session: Session, times: int) -> None:
        if device := self._owner(session):
            self._tell(device, TRACED)
        elif times > 1:
            self._reader.report_later(_AGAIN, partial(self._look_for, session, times - 1))

    def _tell(self, device: str, did: str) -> None:
        self._flooded(Flood(device, 1, 0, time.monotonic(), 0.0, did=did))
