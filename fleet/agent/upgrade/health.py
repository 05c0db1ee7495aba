"""Whether the device's workloads are well enough to upgrade its agent, judged patiently."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from fleet.agent.upgrade.events import Workloads
from fleet.contract.wire import DeviceState, Phase

_ILL = frozenset({Phase.FAILED, Phase.UNHEALTHY, Phase.RESTARTING})


class Health:
    """Tells `Workloads`. A workload counts as unwell after `patience` seconds of it: one failed check is no illness."""

    def __init__(self, patience: float, tell: Callable[[Workloads], None]) -> None:
        """Nothing is known yet, and nothing is wrong."""
        self._patience = patience
        self._tell = tell
        self._busy = False
        self._ill_since: dict[str, float] = {}
        self._told: Workloads | None = None
        self._timer: asyncio.TimerHandle | None = None

    def see(self, states: Mapping[str, DeviceState], *, busy: bool) -> None:
        """What is true of each deployment now, and whether a reconcile is in flight."""
        now = time.monotonic()
        self._busy = busy
        ill = [name for name, state in states.items() if state.phase in _ILL]
        self._ill_since = {name: self._ill_since.get(name, now) for name in ill}
        if self._now() != self._told:
            self.say(busy=busy)
        self._look_again(now)

    def say(self, *, busy: bool) -> None:
        """Tell it, news or not."""
        self._busy = busy
        self._told = self._now()
        self._tell(self._told)

    def _now(self) -> Workloads:
        limit = time.monotonic() - self._patience
        return Workloads(self._busy, healthy=all(since > limit for since in self._ill_since.values()))

    def _look_again(self, now: float) -> None:
        """When patience ends, if nothing else happens before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = [since + self._patience for since in self._ill_since.values() if since + self._patience > now]
        if due:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(due) - now, lambda: self.say(busy=self._busy))
