"""Whether the device's workloads are well enough to upgrade its agent, judged patiently."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import msgspec

from fleet.agent.upgrade.protocol.events import Workloads
from fleet.contract.wire import DeviceState, Phase, Reason

_ILL = frozenset({Phase.FAILED, Phase.UNHEALTHY, Phase.RESTARTING})


class Illness(msgspec.Struct, frozen=True):
    """A workload that was unwell from `since` until `until`, or still is (None); in seconds of a monotonic clock.

    It counts once it has lasted `patience` seconds, and until the workload has been well for as long: one failed check
    is no illness, and one good look at a container that restarts again and again is no recovery.
    """

    since: float
    until: float | None = None

    def looked(self, *, ill: bool, now: float) -> Illness:
        """What another look makes of it."""
        if ill:
            return Illness(self.since)
        return Illness(self.since, now) if self.until is None else self

    def is_over(self, now: float, patience: float) -> bool:
        """Whether the workload has been well for long enough to forget it."""
        return self.until is not None and now - self.until >= patience

    def counts(self, now: float, patience: float) -> bool:
        """Whether the workload is unwell."""
        lasted = (now if self.until is None else self.until) - self.since
        return lasted >= patience and not self.is_over(now, patience)

    def next_change(self, patience: float) -> float:
        """When it begins to count or ends, without a further check."""
        return (self.since if self.until is None else self.until) + patience


class Health:
    """Tells `Workloads`, by what an `Illness` with this `patience` in seconds says of each workload."""

    def __init__(self, patience: float, emit: Callable[[Workloads], None]) -> None:
        self._patience = patience
        self._tell = emit
        self._busy = False
        self._illnesses: dict[str, Illness] = {}
        self._last: Workloads | None = None
        self._timer: asyncio.TimerHandle | None = None

    def see(self, states: Mapping[str, DeviceState], *, busy: bool) -> None:
        """What is true of each deployment now, and whether a reconcile is in flight."""
        now = time.monotonic()
        self._busy = busy
        before, self._illnesses = self._illnesses, {}
        for name, state in states.items():
            ill = state.phase in _ILL
            if state.reason is Reason.CRASH_LOOP:  # that took a number of crashes, which is patience enough
                self._illnesses[name] = Illness(now - self._patience)
            elif ill or name in before:
                self._illnesses[name] = before.get(name, Illness(now)).looked(ill=ill, now=now)
        self._judge()

    def emit(self, *, busy: bool) -> None:
        """Tell it, news or not."""
        self._busy = busy
        self._last = self._now()
        self._tell(self._last)

    def _now(self) -> Workloads:
        now = time.monotonic()
        return Workloads(
            self._busy, healthy=not any(illness.counts(now, self._patience) for illness in self._illnesses.values())
        )

    def _judge(self) -> None:
        """Forget recovered workloads, report changes, and check again when the patience ends, or after an event."""
        now = time.monotonic()
        self._illnesses = {
            name: illness for name, illness in self._illnesses.items() if not illness.is_over(now, self._patience)
        }
        if self._now() != self._last:
            self.emit(busy=self._busy)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = [moment for illness in self._illnesses.values() if (moment := illness.next_change(self._patience)) > now]
        if due:
            self._timer = asyncio.get_running_loop().call_later(min(due) - now, self._judge)
