"""Tells the fleet what this device is, that it lives, and what became of each deployment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog

from fleet.bus import KV, Bus
from fleet.contract.buckets import DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE
from fleet.contract.errors import FleetError
from fleet.contract.names import DeviceId
from fleet.contract.upgrade import UpgradeStatus
from fleet.contract.wire import DeviceInfo, DeviceState, Heartbeat

_log = structlog.stdlib.get_logger()

_RETRY = 2.0
"""Seconds until a report that was not acknowledged is sent again."""


class Reporter:
    """The reports of one device. What was acknowledged is not sent again, except after a reconnect.

    `gone` hears of a removed deployment whose report has been deleted.
    """

    def __init__(self, device: DeviceId, info: DeviceInfo, gone: Callable[[str], None]) -> None:
        """Report nothing yet."""
        self._device = device
        self._info = info
        self._info_sent: DeviceInfo | None = None
        self._gone = gone
        self._states: dict[str, DeviceState] = {}
        self._leaving: set[str] = set()
        self._present: frozenset[str] | None = None
        self._sent: dict[str, DeviceState] = {}
        self._beats = 0
        self._changed = asyncio.Event()
        self._open = True
        self._sending = asyncio.Lock()
        self.generation = 0
        """What the heartbeats say: the upgrade attempt that this agent is the candidate of, or was committed by."""

    def engine(self, name: str) -> None:
        """The engine's name and version, once it has told."""
        self._info = msgspec.structs.replace(self._info, engine=name)
        self._changed.set()

    def states(self, states: dict[str, DeviceState], present: frozenset[str] | None) -> None:
        """What is true of each deployment now, and which have a container; None when the engine does not tell."""
        if (states, present) != (self._states, self._present):
            self._states, self._present = states, present
            self._changed.set()

    def leaving(self, names: Iterable[str]) -> None:
        """These deployments are not wished any more: delete their reports once they have no container."""
        self._leaving = set(names)
        self._changed.set()

    def upgrade(self, status: UpgradeStatus) -> None:
        """How the latest upgrade of the agent stands; the time is added unless it is told."""
        known = self._info.upgrade
        if known is None or msgspec.structs.replace(known, at=status.at) != status:
            timed = msgspec.structs.replace(status, at=status.at or time.time())
            self._info = msgspec.structs.replace(self._info, upgrade=timed)
            self._changed.set()

    async def allow(self, *, reports: bool) -> None:
        """Whether anything but heartbeats may be sent; returns once what was on its way is acknowledged, or lost."""
        if reports and not self._open:
            self.anew()
        self._open = reports
        if not reports:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY), self._sending:
                    pass

    def anew(self) -> None:
        """Send everything again: the server may have lost what it acknowledged before."""
        self._sent = {}
        self._info_sent = None
        self._changed.set()

    async def publish(self, bus: Bus) -> None:
        """Send what changes, as long as the connection lives."""
        while True:
            self._changed.clear()
            try:
                async with self._sending:
                    await self._send(bus)
            except FleetError as error:
                _log.warning("report not sent", why=error.what)
                await asyncio.sleep(_RETRY)
            else:
                await self._changed.wait()

    async def _send(self, bus: Bus) -> None:
        if self._open:
            await self._send_info(bus)
        if self._open:
            await self._send_states(bus)

    async def _send_info(self, bus: Bus) -> None:
        if self._info_sent != self._info:
            info = self._info
            await bus.kv(DEVICE_INFO).put(self._device, info)
            self._info_sent = info

    async def _send_states(self, bus: Bus) -> None:
        kv = bus.kv(DEVICE_STATE)
        # One that is still judged would be reported again after its report is gone.
        left = self._leaving - self._present - self._states.keys() if self._present is not None else set[str]()
        for name in sorted(left) if self._open else ():
            await kv.delete(f"{self._device}.{name}")
            self._sent.pop(name, None)
            self._leaving.discard(name)
            self._gone(name)
        for name, state in list(self._states.items()):
            if self._open and self._sent.get(name) != state:
                await self._send_state(kv, name, state)

    async def _send_state(self, kv: KV[DeviceState], name: str, state: DeviceState) -> None:
        """Send one report; one that cannot be sent at all is told once, so that the others are sent."""
        try:
            await kv.put(f"{self._device}.{name}", msgspec.structs.replace(state, at=time.time()))
        except FleetError:
            raise
        except Exception:
            _log.exception("a report cannot be sent", deployment=name)
        self._sent[name] = state

    async def beat(self, bus: Bus, interval: float) -> None:
        """Say every `interval` seconds that the device lives; a beat that cannot be sent is not made up for."""
        kv = bus.kv(DEVICE_HEARTBEAT)
        while True:
            self._beats += 1
            beat = Heartbeat(
                agent_version=self._info.agent_version,
                instance_id=self._info.instance_id,
                boot_id=self._info.boot_id,
                sequence=self._beats,
                interval=interval,
                generation=self.generation,
                at=time.time(),
            )
            started = time.monotonic()
            if bus.connected:
                try:
                    await kv.put(self._device, beat)
                except FleetError as error:
                    _log.warning("heartbeat not sent", why=error.what)
            await asyncio.sleep(max(0.0, started + interval - time.monotonic()))
