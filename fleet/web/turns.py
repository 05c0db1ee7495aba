"""Whose screen is made next: one at a time, and first that of the user who had the least of the process's time.

With ten thousand devices a screen takes up to 0.15 s of a core. A user who keeps many of them open, or asks without
end, waits for himself: another user's next screen waits for one of his at most, however many he wants.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

_REST = 1.0
"""After work that took a second, so many seconds go to what else the process does: connections, TLS, what changed."""

_SHORT = 0.005
"""Seconds of work that no rest follows: such as a part of the list of devices, of which fifty make the whole."""


class Done(msgspec.Struct, Generic[T], frozen=True):
    """What the work returned, and the seconds of a processor that it took."""

    value: T
    cost: float


class _Waiting:
    def __init__(self, work: Callable[[], object], answer: asyncio.Future[Done[object]]) -> None:
        self.work = work
        self.answer = answer


class Turns:
    """Start-time fair queueing (Goyal, Vin, Cheng 1996): each user has the same share while more of them wait."""

    def __init__(self, clock: Callable[[], float] = time.thread_time, rest: float = _REST) -> None:
        """`clock` measures work, in seconds of a processor; for `rest` see `_REST`."""
        self._clock = clock
        self._rest = rest
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._finish: dict[str, float] = {}
        """For each user the share that he has had, in seconds, beside `_start`."""
        self._start = 0.0
        """The share at which the last work began. Who was away for a while begins there, and has saved nothing up."""
        self._free_at = 0.0
        self._timer: asyncio.Handle | None = None

    async def take(self, user: str, work: Callable[[], T]) -> Done[T]:
        """Do `work`, which must not wait, when it is this user's turn. Who is cancelled before has it done never."""
        loop = asyncio.get_running_loop()
        if self._timer is None and loop.time() >= self._free_at:
            before = self._clock()
            try:
                value = work()
            finally:
                cost = self._charge(user, self._clock() - before)
                # Not again in this turn of the loop, even where it took no time.
                self._timer = loop.call_soon(self._next)
            return Done(value, cost)
        answer: asyncio.Future[Done[object]] = loop.create_future()
        self._waiting.setdefault(user, deque()).append(_Waiting(work, answer))
        self._schedule()
        done = await answer
        return Done(done.value, done.cost)  # type: ignore[arg-type]

    def _schedule(self) -> None:
        if self._timer is None and self._waiting:
            loop = asyncio.get_running_loop()
            left = self._free_at - loop.time()
            self._timer = loop.call_later(left, self._next) if left > 0 else loop.call_soon(self._next)

    def _next(self) -> None:
        self._timer = None
        while self._waiting and asyncio.get_running_loop().time() >= self._free_at:
            user = min(self._waiting, key=self._begin)
            queue = self._waiting[user]
            first = queue.popleft()
            if not queue:
                del self._waiting[user]
            if not first.answer.done():  # else nobody waits for it any more
                self._do(user, first)
                break
        self._schedule()

    def _do(self, user: str, job: _Waiting) -> None:
        before = self._clock()
        try:
            value, failure = job.work(), None
        except Exception as error:
            value, failure = None, error
        cost = self._charge(user, self._clock() - before)
        if failure is not None:
            job.answer.set_exception(failure)
        else:
            job.answer.set_result(Done(value, cost))

    def _begin(self, user: str) -> float:
        return max(self._finish.get(user, 0.0), self._start)

    def _charge(self, user: str, cost: float) -> float:
        self._start = self._begin(user)
        self._finish[user] = self._start + cost
        if cost > _SHORT:
            self._free_at = asyncio.get_running_loop().time() + cost * self._rest
        for other in [name for name, finish in self._finish.items() if finish <= self._start]:
            del self._finish[other]
        return cost
