"""Tells the fleet what this device is, that it lives, and what became of each deployment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog

from fleet.contract.buckets import DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE, SINGLE_STATE
from fleet.contract.disk import DiskUsage
from fleet.contract.errors import FleetError
from fleet.contract.limits import BYTE_RATE
from fleet.contract.names import DeviceId
from fleet.contract.release_keys import HeldKeys
from fleet.contract.states import DeviceStates, gathered
from fleet.contract.upgrade import UpgradeStatus
from fleet.contract.volumes import VolumeOutcome
from fleet.contract.wire import DeviceInfo, DeviceState, Heartbeat
from fleet.nats.bus import KV, Bus
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

_ACKNOWLEDGED = 2.0
"""Seconds after which a report without an acknowledgement counts as lost."""
_SLOW = BYTE_RATE / 4
"""Bytes a second of states, at most."""


class Reporter:
    """The reports of one device. What was acknowledged is not sent again, except after a reconnect.

    `gone` hears of a removed deployment that is not reported any more.
    """

    def __init__(self, device: DeviceId, info: DeviceInfo, gone: Callable[[str], None]) -> None:
        self._device = device
        self._info = info
        self._info_sent: DeviceInfo | None = None
        self._gone = gone
        self._states: dict[str, DeviceState] = {}
        self._leaving: set[str] = set()
        self._present: frozenset[str] | None = None
        self._timed: dict[str, DeviceState] = {}
        self._sent: DeviceStates | None = None
        self._singly = False
        self._sent_singly: dict[str, DeviceState] = {}
        self._beats = 0
        self._changed = asyncio.Event()
        self._open = True
        self._sending = asyncio.Lock()
        self.generation = 0
        """What the heartbeats say: the upgrade attempt that this agent is the candidate of, or was committed by."""
        self.session_key = ""
        """And the id of the machine key by which the connection came in."""

    def engine(self, name: str) -> None:
        """The engine's name and version, once known."""
        self._info = msgspec.structs.replace(self._info, engine=name)
        self._changed.set()

    def disk(self, usage: DiskUsage) -> None:
        """What uses the engine's disk."""
        if usage != self._info.disk_usage:
            self._info = msgspec.structs.replace(self._info, disk_usage=usage)
            self._changed.set()

    def volumes(self, outcomes: tuple[VolumeOutcome, ...]) -> None:
        """What became of the last orders to remove a volume."""
        self._info = msgspec.structs.replace(self._info, volume_outcomes=outcomes)
        self._changed.set()

    def trusts(self, certificates: tuple[str, ...]) -> None:
        """The ids of the certificates that the device trusts, and has on its disk."""
        self._info = msgspec.structs.replace(self._info, trusts=certificates)
        self._changed.set()

    def keys(self, key: str, offered: str) -> None:
        """The id of the machine key on the disk, and the public half (PEM) of one that is to take its place, if any."""
        if (key, offered) != (self._info.key_id, self._info.offered_key):
            self._info = msgspec.structs.replace(self._info, key_id=key, offered_key=offered)
            self._changed.set()

    def asked_anew(self, after: int) -> None:
        """The `tokens_after` of the order after which the device has asked for another token; 0 before any."""
        if after != self._info.tokens_after:
            self._info = msgspec.structs.replace(self._info, tokens_after=after)
            self._changed.set()

    def release_keys(self, held: HeldKeys) -> None:
        """The list of release keys that is on the disk."""
        if held != self._info.release_keys:
            self._info = msgspec.structs.replace(self._info, release_keys=held)
            self._changed.set()

    def seals_for(self, key: str) -> None:
        """The public half of the device's sealing key."""
        self._info = msgspec.structs.replace(self._info, sealing_key=key)
        self._changed.set()

    def states(self, states: dict[str, DeviceState], present: frozenset[str] | None) -> None:
        """What is true of each deployment now, and which have a container; None when the engine does not tell."""
        if (states, present) != (self._states, self._present):
            self._states, self._present = states, present
            self._changed.set()

    def leaving(self, names: Iterable[str]) -> None:
        """These deployments are removed; the removal is complete once they have no container."""
        self._leaving = set(names)
        self._changed.set()

    def upgrade(self, status: UpgradeStatus) -> None:
        """The state of the agent's latest upgrade; the time is added if it is missing."""
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
                async with asyncio.timeout(_ACKNOWLEDGED), self._sending:
                    pass

    def anew(self) -> None:
        """Send everything again: the server may have lost what it acknowledged before."""
        self._sent = None
        self._singly = False
        self._sent_singly = {}
        self._info_sent = None
        self._changed.set()

    def notice(self, what: str) -> None:
        """Handle an error of the connection: a server before decision 029 refuses the one value, and accepts many."""
        message = what.lower()
        self._singly = self._singly or (
            "permissions violation" in message and f'"{DEVICE_STATE.subject(self._device)}"'.lower() in message
        )

    async def publish(self, bus: Bus) -> None:
        """Send what changes, as long as the connection lives."""
        backoff = Backoff(0.5, 5)
        while True:
            self._changed.clear()
            try:
                async with self._sending:
                    await self._send(bus)
            except FleetError as error:
                _log.warning("report not sent", why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
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
        # One that is still judged would be reported again after it was given up.
        left = self._leaving - self._present - self._states.keys() if self._present is not None else set[str]()
        value = self._value()
        if self._singly:
            await self._send_singly(bus.kv(SINGLE_STATE), left)
        elif value != self._sent:
            await bus.kv(DEVICE_STATE).put(self._device, value)
            self._sent = value
            # A workload that changes all the time must not make this device one that floods.
            await asyncio.sleep(len(msgspec.json.encode(value)) / _SLOW)
        for name in sorted(left):
            self._leaving.discard(name)
            self._gone(name)

    async def _send_singly(self, kv: KV[DeviceState], left: set[str]) -> None:
        for name in sorted(left):
            await kv.delete(f"{self._device}.{name}")
            self._sent_singly.pop(name, None)
        for name, state in self._timed.items():
            if self._sent_singly.get(name) != state:
                await kv.put(f"{self._device}.{name}", state)
                self._sent_singly[name] = state

    def _value(self) -> DeviceStates:
        """All states, each with the time since when it is as it is."""
        before = {name: state for name, state in self._timed.items() if name in self._states}
        self._timed = {}
        for name, state in self._states.items():
            known = before.get(name)
            same = known is not None and msgspec.structs.replace(known, at=state.at) == state
            self._timed[name] = known if known and same else msgspec.structs.replace(state, at=time.time())
        value = gathered(self._timed)
        if len(value.states) < len(self._timed):
            _log.error("some states are not reported: there are too many", reported=len(value.states))
        return value

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
                key_id=self.session_key,
            )
            started = time.monotonic()
            if bus.connected:
                try:
                    await kv.put(self._device, beat)
                except FleetError as error:
                    _log.warning("heartbeat not sent", why=error.what)
            await asyncio.sleep(max(0.0, started + interval - time.monotonic()))
