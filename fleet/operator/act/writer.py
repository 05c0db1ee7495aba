"""The writer of Kubernetes objects: a separate task, so that no pass waits for the API server.

An object that cannot be written is that object's trouble: it is counted, named and tried again with back-off while the
others go on. Only no answer at all, or an answer that asks for a pause, is everybody's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from fleet.contract.errors import Conflict, FleetError, NotFound, NotPermitted, Unreachable
from fleet.contract.wire import DeviceInfo
from fleet.kube.errors import ServerError
from fleet.operator.act.objects import InfoRefused, Objects
from fleet.operator.act.pace import Key
from fleet.operator.act.queue import ObjectAction, PendingWrite, Queue
from fleet.operator.metrics import Metrics
from fleet.operator.readiness import Readiness
from fleet.process.backoff import pause

_AT_ONCE = 32
"""Writes on their way at the same time."""
_FIRST_RETRY = 0.5
_LONGEST_RETRY = 60.0
_LONGEST_FORBIDDEN = 5.0
"""Seconds before what failed is tried again; a right may be given back at any moment."""
_OUTDATED = 0.05
"""Seconds until the watch has delivered the present object."""
_ALL_FAIL = 8
"""Objects that fail with none between them that is written: then it is the server."""
_SUBJECT = "write objects"
_TIDY = 60.0
_SHOWN = 300
"""Characters of an answer that a message contains."""

Refusal = Callable[[str, DeviceInfo, str], None]
"""Takes a device, what it said of itself, and why that was refused."""


class Writer:
    """Writes the newest queued write of each object until it is stopped."""

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

    def key(self, action: ObjectAction) -> Key:
        """The object that an action is about."""
        return self._objects.key(action)

    def replace(self, actions: Sequence[ObjectAction], decided: Iterable[Key]) -> None:
        """These writes, and no others of the objects that were decided about."""
        wanted = {self._objects.key(action) for action in actions}
        for key in decided:
            if key not in wanted and (key in self._queue.pending or key in self._queue.under_way):
                self._drop(key)
        now = time.monotonic()
        for action in actions:
            if write := self._objects.pending_write(action):
                self._queue.put(self._objects.key(action), write, now)
        self._forget_troubles()
        self._metrics.writes_waiting.set(len(self._queue.pending))
        self._news.set()

    def hold_details(self, *, held: bool) -> None:
        """While desired states wait to be written, details of devices are not written."""
        self._queue.hold_details(time.monotonic(), held=held)
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled."""
        slots = asyncio.Semaphore(_AT_ONCE)
        tidied = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await slots.acquire()
                key, write = await self._next()
                task = tasks.create_task(self._one(key, write))
                task.add_done_callback(lambda _: (slots.release(), self._news.set()))
                if time.monotonic() - tidied > _TIDY:
                    tidied = time.monotonic()
                    self._queue.tidy(tidied)

    async def _next(self) -> tuple[Key, PendingWrite]:
        while True:
            self._news.clear()
            now = time.monotonic()
            if now >= self._resume and (write := self._queue.take(now)):
                return write
            due = self._resume if now < self._resume else self._queue.next_due(now)
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _one(self, key: Key, write: PendingWrite) -> None:
        kind = type(write.action).__name__
        try:
            outcome = await self._write(key, write)
        except Exception as error:
            outcome = self._failed(key, write, error)
        if key not in self._queue.pending:
            # It may have been dropped while it was under way, and no pass need come that would see it.
            self._forget(key)
        self._metrics.actions.labels(kind, outcome).inc()
        self._metrics.writes_waiting.set(len(self._queue.pending))

    async def _write(self, key: Key, write: PendingWrite) -> str:
        try:
            size = await self._objects.write(write)
        except NotFound:
            size = 0
        except Conflict:
            delay = pause(_OUTDATED, _LONGEST_FORBIDDEN, self._queue.failures(key))
            self._queue.failed(key, time.monotonic(), delay)
            return "outdated"
        if not size:
            self._queue.gave_up(key, time.monotonic())
            return "gone"
        wanted = self._queue.wrote(key, size, time.monotonic())
        self._went_well(key, self._objects.permission(write.action))
        if not wanted:
            self._objects.decide_again(key)
        if self._objects.has_news():
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

    def _failed(self, key: Key, write: PendingWrite, error: Exception) -> str:
        now = time.monotonic()
        delay = pause(_FIRST_RETRY, _LONGEST_RETRY, self._queue.failures(key))
        match error:
            case Unreachable():
                self._pause(error.what, pause(_FIRST_RETRY, _LONGEST_FORBIDDEN, self._silent))
                self._silent += 1
                delay = 0
            case NotPermitted():
                right = self._objects.permission(write.action)
                self._forbidden.setdefault(right, set()).add(key)
                self._readiness.wrong(right, error.what)
                delay = min(delay, _LONGEST_FORBIDDEN)
            case InfoRefused():
                self._info_refused(key[1], error.info, error.what)
                self._queue.refused(key, now)
                self._wake()
                return "info refused"
            case _:
                self._trouble(key, write, error)
        self._queue.failed(key, now, delay)
        return "failed"

    def _trouble(self, key: Key, write: PendingWrite, error: Exception) -> None:
        why = error.what if isinstance(error, FleetError) else repr(error)
        self._troubled.add(key)
        self._metrics.unwritable.set(len(self._troubled))
        self._readiness.remark(_name(key), f"cannot {self._objects.permission(write.action)}: {why[:_SHOWN]}")
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
        """An obsolete write needs no permission and no report."""
        for right in [right for right, keys in self._forbidden.items() if not keys]:
            del self._forbidden[right]
            self._readiness.settled(right)
        pending, under_way = self._queue.pending, self._queue.under_way
        for key in [key for key in self._troubled if key not in pending and key not in under_way]:
            self._settle(key)
        if not pending and not under_way:
            self._failing.clear()
            self._readiness.settled(_SUBJECT)


def _name(key: Key) -> str:
    return f"{key[0]} {key[1]}"
