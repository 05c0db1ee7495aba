"""When to reconcile: at once when something happens, never more often than it can, and when a deadline passes."""

from __future__ import annotations

import asyncio
import random
import time

import structlog

from fleet.contract.errors import FleetError
from fleet.operator.act import Actor
from fleet.operator.knowledge import Knowledge
from fleet.operator.metrics import Metrics
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile import reconcile
from fleet.operator.store import Store

log = structlog.get_logger()

_FIRST_RETRY = 0.2
_LONGEST_RETRY = 5.0
"""Seconds before what failed is tried again."""
_LONGEST_PASS = 10.0
"""Seconds of a pass after which the operator is not ready."""
_SHOWN = 300
"""Characters of an error that are told."""
_SUBJECT = "reconcile in time"


class Bell:
    """What calls for another pass."""

    def __init__(self) -> None:
        """Everything is to be read first."""
        self.rung = asyncio.Event()
        self.next_read = 0.0

    def wake(self) -> None:
        """Something changed that may call for action."""
        self.rung.set()

    def read_again(self) -> None:
        """Something may have been missed."""
        self.next_read = 0.0
        self.rung.set()


class Loop:
    """The one task that reads, decides and acts.

    News that comes while a pass is under way is one wake-up for the next, and the pause after a pass is as long as its
    decision took. So a fleet of any size costs at most half a processor, however much of it changes at once, while the
    first change after a quiet time waits for nothing.
    """

    def __init__(
        self,
        bell: Bell,
        store: Store,
        knowledge: Knowledge,
        actor: Actor,
        readiness: Readiness,
        metrics: Metrics,
        resync_interval: float,
    ) -> None:
        """`resync_interval` is in seconds: how often everything is read again, in case something was missed."""
        self._bell = bell
        self._store = store
        self._knowledge = knowledge
        self._actor = actor
        self._readiness = readiness
        self._metrics = metrics
        self._resync_interval = resync_interval
        self._failures = 0

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            overrun = asyncio.get_running_loop().call_later(_LONGEST_PASS, self._overrun)
            try:
                pause = await self._once()
            except FleetError as error:
                pause = self._failed(error.what)
            except Exception as error:
                # Nobody foresaw it. The process goes on: a restart would meet the same again.
                log.exception("a pass failed")
                pause = self._failed(f"not foreseen: {error!r}"[:_SHOWN])
            finally:
                overrun.cancel()
            self._readiness.settled(_SUBJECT)
            await asyncio.sleep(pause)
            await self._quiet()

    async def _once(self) -> float:
        """One pass; returns the seconds to pause after it."""
        self._bell.rung.clear()
        if time.monotonic() >= self._bell.next_read:
            # Set before, so that an outage that begins meanwhile calls for another.
            self._bell.next_read = time.monotonic() + self._resync_interval
            try:
                await self._knowledge.read()
            except FleetError:
                self._bell.next_read = 0.0
                raise
        self._knowledge.waits_for = ""
        started = time.monotonic()
        actions = reconcile(self._store.snapshot(), self._knowledge.troubled)
        planned = time.monotonic() - started
        await self._actor.carry_out(actions)
        self._metrics.planning.observe(planned)
        self._metrics.passes.observe(time.monotonic() - started)
        self._readiness.settled("reconcile")
        self._failures = 0
        return planned

    def _overrun(self) -> None:
        waits_for = self._knowledge.waits_for or "what was decided to be written"
        self._readiness.wrong(_SUBJECT, f"it has taken more than {_LONGEST_PASS:.0f} s, and waits for {waits_for}")

    def _failed(self, why: str) -> float:
        self._readiness.wrong("reconcile", why)
        self._bell.rung.set()
        limit = min(_FIRST_RETRY * 2**self._failures, _LONGEST_RETRY)
        self._failures += 1
        return random.uniform(limit / 2, limit)  # noqa: S311 - spreads attempts, hides nothing

    async def _quiet(self) -> None:
        """Wait until something happens, a device's heartbeat is overdue, or it is time to read again."""
        due = min(self._bell.next_read, self._store.next_deadline() or self._bell.next_read)
        try:
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                await self._bell.rung.wait()
        except TimeoutError:
            pass
