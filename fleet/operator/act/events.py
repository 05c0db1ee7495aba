"""Kubernetes Events about transitions: written after the status, one at a time, and kept a while if a write fails.

Each object has a budget, and each of its reasons another. The rest is reported later, as one Event with a count.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import msgspec
import structlog

from fleet.operator.act.attempt import attempt
from fleet.operator.kube import KubeApi, Meta, Times
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Kind, Note
from fleet.operator.skipped_keys import SkippedKeys
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

_KEPT = 1000
"""Events that wait to be written; if there are more, the oldest are dropped."""
_OF_A_REASON = (10, 60.0)
_OF_AN_OBJECT = (30, 20.0)
"""So many at once, and one in so many seconds. A device can come and go all day long, and the API server keeps each
Event for an hour."""
_RIGHT = "create events"
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 8.0
"""Seconds before a failed write is tried again."""
_LOOK = 1.0
"""Seconds between two checks of the Events that are held back."""

_Key = tuple[str, ...]
HandOn = Callable[[Kind, str, Note, Times], None]


class _PendingEvent(msgspec.Struct, frozen=True):
    kind: Kind
    meta: Meta
    note: Note
    times: Times

    @property
    def key(self) -> _Key:
        return self.kind, self.meta.name, self.note.reason


class _Budget:
    """So many at once, and one in so many seconds, of each key; times are Unix seconds."""

    def __init__(self, burst: int, every: float) -> None:
        self._ahead, self._every = (burst - 1) * every, every
        self._paid: dict[_Key, float] = {}
        self._full = _KEPT

    def allows(self, key: _Key, now: float) -> bool:
        return self._paid.get(key, 0.0) - now <= self._ahead

    def spend(self, key: _Key, now: float) -> None:
        if len(self._paid) >= self._full:
            self._paid = {known: until for known, until in self._paid.items() if until > now}
            self._full = max(_KEPT, 2 * len(self._paid))
        self._paid[key] = max(self._paid.get(key, 0.0), now) + self._every


class Events:
    """The Events to write."""

    def __init__(self, api: KubeApi, readiness: Readiness, skipped: SkippedKeys, hand_on: HandOn | None = None) -> None:
        """A missing permission makes the operator unready; a refused event counts as a skipped key.

        `hand_on` is called with each event that Kubernetes has accepted, and must not block.
        """
        self._api = api
        self._readiness = readiness
        self._skipped = skipped
        self._hand_on = hand_on
        self._waiting: deque[_PendingEvent] = deque(maxlen=_KEPT)
        self._held: dict[_Key, _PendingEvent] = {}
        self._of_reasons = _Budget(*_OF_A_REASON)
        self._of_objects = _Budget(*_OF_AN_OBJECT)
        self._news = asyncio.Event()

    def put(self, kind: Kind, meta: Meta, note: Note, at: float) -> None:
        """Tell it soon, or later together with others like it; `at` is Unix time in seconds."""
        event = _PendingEvent(kind, meta, note, Times(at, at))
        before = self._held.pop(event.key, None)
        if before is not None:
            event = msgspec.structs.replace(event, times=before.times.and_at(at))
        if not self._pay(event, at) and (before is not None or len(self._held) < _KEPT):
            self._held[event.key] = event
        self._news.set()

    def _pay(self, event: _PendingEvent, now: float) -> bool:
        """Whether the Event may be written now; if so, it is charged to the budgets."""
        if not (self._of_reasons.allows(event.key, now) and self._of_objects.allows(event.key[:2], now)):
            return False
        self._of_reasons.spend(event.key, now)
        self._of_objects.spend(event.key[:2], now)
        self._waiting.append(event)
        return True

    async def run(self) -> None:
        """Tell them until cancelled."""
        looked, backoff = 0.0, Backoff(_FIRST_RETRY, _LONGEST_RETRY)
        while True:
            try:
                async with asyncio.timeout(_LOOK if self._held else None):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            if time.monotonic() - looked >= _LOOK:
                looked = time.monotonic()
                self._release(time.time())
            while self._waiting:
                event = self._waiting.popleft()
                if await self._send(event):
                    backoff.reset()
                else:
                    self._waiting.appendleft(event)
                    await asyncio.sleep(backoff.next())

    def _release(self, now: float) -> None:
        """An Event that was held back displaces no waiting one."""
        for key, event in list(self._held.items()):
            if len(self._waiting) >= _KEPT:
                return
            if self._pay(event, now):
                del self._held[key]

    async def _send(self, event: _PendingEvent) -> bool:
        """Whether it is written, or never can be."""
        name = event.meta.name
        return await attempt(
            self._write(event), self._readiness, _RIGHT, lambda reason: self._skipped.note("Event", name, reason)
        )

    async def _write(self, event: _PendingEvent) -> None:
        await self._api.create_event(event.kind, event.meta, event.note, event.times)
        if self._hand_on is not None:
            self._hand_on(event.kind, event.meta.name, event.note, event.times)
        # With the id of a change in it, a search in the logs finds what became of it.
        note = event.note
        _log.info("event", kind=event.kind, name=event.meta.name, reason=note.reason, message=note.message)
