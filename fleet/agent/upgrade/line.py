"""The agent's connection, as the upgrade uses it: what is ordered, what other agents of the device say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from fleet.agent.backoff import Backoff
from fleet.agent.hints import login_refused
from fleet.agent.nudge import Nudge
from fleet.agent.upgrade.events import BeatHeard, Connected, Disconnected, Event, TargetSeen
from fleet.bus import DISCONNECTED, RECONNECTED, BadEntry, Bus, Entry
from fleet.contract.buckets import AGENT_TARGET, DEVICE_HEARTBEAT
from fleet.contract.errors import FleetError
from fleet.contract.names import DeviceId

_log = structlog.stdlib.get_logger()


class Line:
    """Satisfies `fleet.agent.session.Companion`. Tells what it sees as events."""

    def __init__(self, device: DeviceId, resync: float, tell: Callable[[Event], None]) -> None:
        """Hear nothing yet. `resync` is in seconds: how often everything is read in case something was missed."""
        self._device = device
        self._tell = tell
        self._bus: Bus | None = None
        self._there = asyncio.Event()
        self._nudge = Nudge(resync)
        self.awaits_candidate = False
        """Whether this agent waits for the heartbeat of its successor."""

    async def bus(self) -> Bus:
        """The connection, as soon as there is one."""
        while self._bus is None or not self._bus.connected:
            await self._there.wait()
            if self._bus is not None and not self._bus.connected:
                self._there.clear()
        return self._bus

    def notice(self, what: str) -> None:
        """As `Companion.notice`."""
        if what == DISCONNECTED:
            self._there.clear()
            self._tell(Disconnected())
        elif what == RECONNECTED:
            self._there.set()
            self._nudge.give()
            self._tell(Connected())
        elif login_refused(what):
            # An answer as well: an agent whose device is not let in must not hold a trial for ever.
            self._tell(Connected())

    async def serve(self, bus: Bus) -> None:
        """As `Companion.serve`."""
        self._bus = bus
        self._there.set()
        self._tell(Connected())
        try:
            await self._follow(bus)
            async for _ in self._nudge.times():
                await self._read(bus)
        finally:
            self._bus = None
            self._there.clear()
            self._tell(Disconnected())

    async def _follow(self, bus: Bus) -> None:
        backoff = Backoff(0.5, 30)
        while True:
            try:
                await bus.hear(AGENT_TARGET.heard(self._device), self._nudge.give)
                await bus.hear(DEVICE_HEARTBEAT.heard(self._device), self._beaten)
            except FleetError as error:
                _log.warning("orders are not heard yet", why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                return

    def _beaten(self) -> None:
        if self.awaits_candidate:
            self._nudge.give()

    async def _read(self, bus: Bus) -> None:
        try:
            found = await bus.kv(AGENT_TARGET).get(self._device)
            beat = await bus.kv(DEVICE_HEARTBEAT).get(self._device) if self.awaits_candidate else None
        except FleetError as error:
            _log.warning("orders not read", why=error.what)
            return
        if isinstance(beat, Entry):
            self._tell(BeatHeard(beat.value))
        match found:
            case Entry():
                self._tell(TargetSeen(found.value))
            case BadEntry():
                _log.error("the order does not parse; nothing is done about it", why=found.why)
            case None:
                self._tell(TargetSeen(None))
