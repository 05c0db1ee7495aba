"""The agent's connection, as the upgrade uses it: what is ordered, what other agents of the device say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from fleet.agent.advice import login_refused
from fleet.agent.read_trigger import ReadTrigger
from fleet.agent.upgrade.protocol.events import BeatHeard, Connected, Disconnected, Event, TargetSeen
from fleet.contract.buckets import AGENT_TARGET, DEVICE_HEARTBEAT
from fleet.contract.errors import FleetError
from fleet.contract.names import DeviceId
from fleet.nats.bus import DISCONNECTED, RECONNECTED, BadEntry, Bus, Entry
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()


class UpgradeChannel:
    """Satisfies `fleet.agent.session.ConnectionTask`. Tells what it sees as events."""

    def __init__(self, device: DeviceId, resync: float, emit: Callable[[Event], None]) -> None:
        """Subscribe to nothing yet. `resync` (seconds) is the interval of complete reads that find missed changes."""
        self._device = device
        self._emit = emit
        self._bus: Bus | None = None
        self._online = asyncio.Event()
        self._trigger = ReadTrigger(resync)
        self.awaits_candidate = False
        """Whether this agent waits for the heartbeat of its successor."""

    async def bus(self) -> Bus:
        """The connection, as soon as there is one."""
        while self._bus is None or not self._bus.connected:
            await self._online.wait()
            if self._bus is not None and not self._bus.connected:
                self._online.clear()
        return self._bus

    def notice(self, what: str) -> None:
        """As `ConnectionTask.notice`."""
        if what == DISCONNECTED:
            self._online.clear()
            self._emit(Disconnected())
        elif what == RECONNECTED:
            self._online.set()
            self._trigger.fire()
            self._emit(Connected())
        elif login_refused(what):
            # An answer as well: an agent whose device is not let in must not hold a trial for ever.
            self._emit(Connected())

    async def serve(self, bus: Bus) -> None:
        """As `ConnectionTask.serve`."""
        self._bus = bus
        self._online.set()
        self._emit(Connected())
        try:
            await self._subscribe(bus)
            async for _ in self._trigger.times():
                await self._read(bus)
        finally:
            self._bus = None
            self._online.clear()
            self._emit(Disconnected())

    async def _subscribe(self, bus: Bus) -> None:
        backoff = Backoff(0.5, 30)
        while True:
            try:
                await bus.subscribe(AGENT_TARGET.notify_subject(self._device), self._trigger.fire)
                await bus.subscribe(DEVICE_HEARTBEAT.notify_subject(self._device), self._heartbeat_written)
            except FleetError as error:
                _log.warning("orders are not heard yet", why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                return

    def _heartbeat_written(self) -> None:
        if self.awaits_candidate:
            self._trigger.fire()

    async def _read(self, bus: Bus) -> None:
        try:
            entry = await bus.kv(AGENT_TARGET).get(self._device)
            beat = await bus.kv(DEVICE_HEARTBEAT).get(self._device) if self.awaits_candidate else None
        except FleetError as error:
            self._trigger.failed()
            _log.warning("orders not read", why=error.what)
            return
        if isinstance(beat, Entry):
            self._emit(BeatHeard(beat.value))
        match entry:
            case Entry():
                self._emit(TargetSeen(entry.value))
            case BadEntry():
                _log.error("the order does not parse; nothing is done about it", why=entry.why)
            case None:
                self._emit(TargetSeen(None))
