"""When to reconcile: at once when something happens, never more often than it can, and when a deadline passes."""

from __future__ import annotations

import asyncio
import time

import structlog

from fleet.contract.errors import FleetError
from fleet.operator.act import Actor
from fleet.operator.metrics import Metrics
from fleet.operator.plan.planner import Planner
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.silence import silenced
from fleet.operator.state_reader import StateReader
from fleet.operator.store import Store
from fleet.process.backoff import Backoff

log = structlog.get_logger()

_FIRST_RETRY = 0.2
_LONGEST_RETRY = 5.0
"""Seconds before what failed is tried again."""
_LONGEST_PASS = 10.0
"""Seconds of a pass after which the operator is not ready."""
_ANEW = 300.0
"""Seconds after which everything is decided again, in case a change was missed."""
_ALARMS_TOGETHER = 0.1
"""Seconds by which a decision that only time calls for may come later."""
_SHOWN = 300
"""Characters of an error that a message contains."""
_SUBJECT = "reconcile in time"


class Wakeup:
    """What calls for another pass."""

    def __init__(self) -> None:
        """Requests a complete read first."""
        self.pending = asyncio.Event()
        self.next_read = 0.0
        self.agents_published = False

    def wake(self) -> None:
        """Something changed that may call for action."""
        self.pending.set()

    def agent_published(self) -> None:
        """The store of agents changed."""
        self.agents_published = True
        self.pending.set()

    def read_again(self) -> None:
        """Something may have been missed."""
        self.next_read = 0.0
        self.pending.set()


class Loop:
    """The one task that reads, decides and acts.

    News that comes while a pass is under way is one wake-up for the next, and the pause after a pass is as long as its
    decision took. So a fleet of any size costs at most half a processor, however much of it changes at once, while the
    first change after a quiet time waits for nothing.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        store: Store,
        state_reader: StateReader,
        actor: Actor,
        readiness: Readiness,
        metrics: Metrics,
        resync_interval: float,
    ) -> None:
        """`resync_interval` is in seconds: how often everything is read again, in case something was missed."""
        self._wakeup = wakeup
        self._store = store
        self._planner = Planner(store.changes)
        self._state_reader = state_reader
        self._actor = actor
        self._readiness = readiness
        self._metrics = metrics
        self._resync_interval = resync_interval
        self._backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY)
        self._anew = time.monotonic() + _ANEW

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            overrun = asyncio.get_running_loop().call_later(_LONGEST_PASS, self._overrun)
            try:
                pause = await self._once()
            except FleetError as error:
                pause = self._failed(error.what)
                self._actor.write_objects(silenced(self._store.snapshot(), self._state_reader.troubled))
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
        self._wakeup.pending.clear()
        await self._ask()
        await self._catch_up()
        await self._state_reader.settle_secrets()
        self._state_reader.waits_for = ""
        started = time.monotonic()
        plan = self._planner.plan(self._store.snapshot(), self._state_reader.troubled)
        planned = time.monotonic() - started
        if plan.more:
            self._wakeup.wake()
        try:
            failed = await self._actor.carry_out(plan, self._state_reader.troubled)
        except BaseException:
            self._planner.again(plan)
            raise
        for key in failed:
            # With the next pass, which this calls for not: what is refused would be refused again at once.
            self._planner.decide_again(*key)
        self._metrics.planning.observe(planned)
        self._metrics.passes.observe(time.monotonic() - started)
        if not plan.more:
            self._readiness.settled("reconcile")
        self._backoff.reset()
        return planned

    async def _catch_up(self) -> None:
        """Read what is to be read."""
        now = time.monotonic()
        if now >= self._wakeup.next_read:
            # Set before, so that an outage that begins meanwhile calls for another.
            self._wakeup.next_read = now + self._resync_interval
            self._wakeup.agents_published = False
            try:
                await self._state_reader.read()
            except FleetError:
                self._wakeup.next_read = 0.0
                raise
            if now >= self._anew:
                self._anew = now + _ANEW
                self._planner.begin_anew()
        elif self._wakeup.agents_published:
            self._wakeup.agents_published = False
            try:
                await self._state_reader.read_agents()
            except FleetError:
                self._wakeup.agents_published = True
                raise

    async def _ask(self) -> None:
        """Conclude nothing from silence that NATS may be the cause of."""
        self._state_reader.waits_for = "a sign of life from NATS"
        try:
            await self._state_reader.ask()
        except FleetError:
            self._store.connectivity.answered(False)
            # Whatever is known now may be out of date.
            self._wakeup.next_read = 0.0
            raise
        was_silent = self._store.connectivity.silent_since
        self._store.connectivity.answered(True)
        if was_silent:
            # What was taken back is decided anew.
            self._planner.begin_anew()

    def _overrun(self) -> None:
        waits_for = self._state_reader.waits_for or "what was decided to be written"
        self._readiness.wrong(_SUBJECT, f"it has taken more than {_LONGEST_PASS:.0f} s, and waits for {waits_for}")

    def _failed(self, why: str) -> float:
        self._readiness.wrong("reconcile", why)
        self._wakeup.pending.set()
        return self._backoff.next()

    async def _quiet(self) -> None:
        """Wait until something happens, a device's heartbeat is overdue, or it is time to read again."""
        alarmed = False
        while not alarmed and not self._wakeup.pending.is_set() and time.monotonic() < self._wakeup.next_read:
            alarm = self._planner.next_alarm()
            # Thousands of devices ring at as many moments: those that come soon after each other are one.
            soonest = time.monotonic() + _ALARMS_TOGETHER
            due = self._wakeup.next_read if alarm is None else min(self._wakeup.next_read, max(alarm, soonest))
            try:
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._wakeup.pending.wait()
            except TimeoutError:
                alarmed = self._planner.alarmed(self._store.snapshot(), self._state_reader.troubled)
