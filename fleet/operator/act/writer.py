"""The writer of Kubernetes objects: beside the passes, so that no pass waits for the API server.

An object that cannot be written is that object's trouble: it is counted, named and tried again with back-off while the
others go on. Only no answer at all, or an answer that asks for a pause, is everybody's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from fleet.contract.errors import Conflict, FleetError, NotFound, NotPermitted, Unreachable
from fleet.contract.wire import DeviceInfo
from fleet.operator.act.objects import InfoRefused, Objects
from fleet.operator.act.pace import Key
from fleet.operator.act.queue import ObjectAction, Queue, Wish
from fleet.operator.kube import ServerError
from fleet.operator.metrics import Metrics
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import AddFinalizer, RemoveFinalizer

_AT_ONCE = 32
"""Writes on their way at the same time."""
_FIRST_RETRY = 0.5
_LONGEST_RETRY = 60.0
_LONGEST_FORBIDDEN = 5.0
"""Seconds before what failed is tried again; a right may be given back at any moment."""
_OUTDATED = 0.05
"""Seconds until the watch has told what an object is now."""
_ALL_FAIL = 8
"""Objects that fail with none between them that is written: then it is the server."""
_SUBJECT = "write objects"
_TIDY = 60.0
_SHOWN = 300
"""Characters of an answer that are told."""

Refusal = Callable[[str, DeviceInfo, str], None]
"""Takes a device, what it said of itself, and why that was refused."""


class Writer:
    """Writes what is wanted, the newest wish of each object, until it is stopped."""

    def __init__(
        self,
        objects: Objects,
        readiness: Readiness,
        metrics: Metrics,
        *,
        wake: Callable[[], None],
        info_refused: Refusal,
    ) -> None:
        """`wake` is called when something was written that calls for another pass."""
        self._objects = objects
        self._readiness = readiness
        self._metrics = metrics
        self._wake = wake
        self._info_refused = info_refused
        self._queue = Queue()
        self._news = asyncio.Event()
        self._resume = 0.0
        self._silent = 0
        self._failing: set[Key] = set()
        self._troubled: set[Key] = set()
        self._forbidden: dict[str, set[Key]] = {}

    def want(self, actions: Sequence[ObjectAction]) -> None:
        """These writes, and no others."""
        wanted = {self._objects.key(action) for action in actions}
        for key in [*(self._queue.wishes.keys() - wanted), *(self._queue.under_way.keys() - wanted)]:
            self._drop(key)
        now = time.monotonic()
        for action in actions:
            if wish := self._objects.wish(action):
                self._queue.want(self._objects.key(action), wish, now)
        self._forget_troubles()
        self._metrics.writes_waiting.set(len(self._queue.wishes))
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled."""
        slots = asyncio.Semaphore(_AT_ONCE)
        tidied = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await slots.acquire()
                key, wish = await self._next()
                task = tasks.create_task(self._one(key, wish))
                task.add_done_callback(lambda _: (slots.release(), self._news.set()))
                if time.monotonic() - tidied > _TIDY:
                    tidied = time.monotonic()
                    self._queue.tidy(tidied)

    async def _next(self) -> tuple[Key, Wish]:
        while True:
            self._news.clear()
            now = time.monotonic()
            if now >= self._resume and (found := self._queue.take(now)):
                return found
            due = self._resume if now < self._resume else self._queue.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _one(self, key: Key, wish: Wish) -> None:
        kind = type(wish.action).__name__
        try:
            outcome = await self._write(key, wish)
        except Exception as error:
            outcome = self._failed(key, wish, error)
        if key not in self._queue.wishes:
            # It may have been dropped while it was under way, and no pass need come that would see it.
            self._forget(key)
        self._metrics.actions.labels(kind, outcome).inc()
        self._metrics.writes_waiting.set(len(self._queue.wishes))

    async def _write(self, key: Key, wish: Wish) -> str:
        try:
            size = await self._objects.write(wish)
        except NotFound:
            size = 0
        except Conflict:
            delay = _spread(_OUTDATED * 2 ** min(self._queue.failures(key), 10), _LONGEST_FORBIDDEN)
            self._queue.failed(key, time.monotonic(), delay)
            return "outdated"
        if not size:
            self._queue.gave_up(key, time.monotonic())
            return "gone"
        self._queue.wrote(key, size, time.monotonic())
        self._went_well(key, self._objects.right(wish.action))
        if isinstance(wish.action, AddFinalizer | RemoveFinalizer):
            self._wake()
        return "done"

    def _went_well(self, key: Key, right: str) -> None:
        self._silent = 0
        self._failing.clear()
        self._readiness.settled(_SUBJECT)
        if self._forbidden.pop(right, None):
            self._readiness.settled(right)
        if key in self._troubled:
            self._settle(key)

    def _failed(self, key: Key, wish: Wish, error: Exception) -> str:
        now = time.monotonic()
        delay = _spread(_FIRST_RETRY * 2 ** min(self._queue.failures(key), 10), _LONGEST_RETRY)
        match error:
            case Unreachable():
                self._pause(error.what, _spread(_FIRST_RETRY * 2 ** min(self._silent, 10), _LONGEST_FORBIDDEN))
                self._silent += 1
                delay = 0
            case NotPermitted():
                right = self._objects.right(wish.action)
                self._forbidden.setdefault(right, set()).add(key)
                self._readiness.wrong(right, error.what)
                delay = min(delay, _LONGEST_FORBIDDEN)
            case InfoRefused():
                self._info_refused(key[1], error.info, error.what)
                self._queue.refused(key, now)
                self._wake()
                return "info refused"
            case _:
                self._trouble(key, wish, error)
        self._queue.failed(key, now, delay)
        return "failed"

    def _trouble(self, key: Key, wish: Wish, error: Exception) -> None:
        why = error.what if isinstance(error, FleetError) else repr(error)
        self._troubled.add(key)
        self._metrics.unwritable.set(len(self._troubled))
        self._readiness.remark(_name(key), f"cannot {self._objects.right(wish.action)}: {why[:_SHOWN]}")
        if isinstance(error, ServerError):
            self._failing.add(key)
            if error.pause or len(self._failing) >= _ALL_FAIL:
                self._pause(why, error.pause or _FIRST_RETRY)

    def _settle(self, key: Key) -> None:
        self._troubled.discard(key)
        self._metrics.unwritable.set(len(self._troubled))
        self._readiness.settled(_name(key))

    def _pause(self, why: str, seconds: float) -> None:
        self._readiness.wrong(_SUBJECT, why)
        self._resume = max(self._resume, time.monotonic() + seconds)

    def _drop(self, key: Key) -> None:
        self._queue.drop(key)
        for keys in self._forbidden.values():
            keys.discard(key)

    def _forget(self, key: Key) -> None:
        """Nothing is wanted of the object."""
        if key in self._troubled:
            self._settle(key)
        for right, keys in list(self._forbidden.items()):
            keys.discard(key)
            if not keys:
                del self._forbidden[right]
                self._readiness.settled(right)

    def _forget_troubles(self) -> None:
        """What is not wanted any more needs no right, and no telling."""
        for right in [right for right, keys in self._forbidden.items() if not keys]:
            del self._forbidden[right]
            self._readiness.settled(right)
        wanted = self._queue.wishes.keys() | self._queue.under_way.keys()
        for key in self._troubled - wanted:
            self._settle(key)
        if not wanted:
            self._failing.clear()
            self._readiness.settled(_SUBJECT)


def _name(key: Key) -> str:
    return f"{key[0]} {key[1]}"


def _spread(seconds: float, longest: float) -> float:
    limit = min(seconds, longest)
    return random.uniform(limit / 2, limit)  # noqa: S311 - spreads attempts, hides nothing
