"""The lease in NATS: which agent of a device may write there. Taken and renewed by compare-and-set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from fleet.agent.supervise import keep_going
from fleet.agent.upgrade.device.channel import UpgradeChannel
from fleet.agent.upgrade.protocol.events import Event, LeaseLost, LeaseReleased, LeaseTaken
from fleet.agent.upgrade.protocol.state import AgentProcess
from fleet.contract.buckets import AGENT_LEASE
from fleet.contract.errors import Conflict, FleetError
from fleet.contract.names import DeviceId
from fleet.contract.wire import AgentLease
from fleet.nats.bus import KV, BadEntry, Entry
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

_LOOK = 0.25
"""Seconds between checks of a lease that another agent holds."""
_GIVE_BACK = 2.0
"""Seconds that NATS has to take a lease back; after that it expires."""

Found = Entry[AgentLease] | BadEntry | None


class Lease:
    """One agent's hold on its device's lease. `lasts` seconds without a renewal, and it counts as given up."""

    def __init__(
        self,
        device: DeviceId,
        process: AgentProcess,
        channel: UpgradeChannel,
        lasts: float,
        emit: Callable[[Event], None],
    ) -> None:
        self._device = device
        self._process = process
        self._channel = channel
        self._lasts = lasts
        self._emit = emit
        self._task: asyncio.Task[None] | None = None
        self._generation = 0

    def take(self, generation: int, *, patient: bool) -> None:
        """Begin to try, and keep it once it is ours; see the effect `TakeLease`."""
        self.drop()
        self._generation = generation
        self._task = asyncio.create_task(keep_going("lease", lambda: self._hold(patient)), name="lease")

    def drop(self) -> None:
        """Neither take nor renew it any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def release(self) -> None:
        """Give it back if it is ours; tells `LeaseReleased` in any case."""
        self.drop()
        try:
            async with asyncio.timeout(_GIVE_BACK):
                kv = (await self._channel.bus()).kv(AGENT_LEASE)
                entry = await kv.get(self._device)
                if self._is_ours(entry):
                    await self._write(kv, entry, AgentLease("", self._generation, 0, self._process.boot_id))
        except Exception as error:
            _log.warning("lease not given back; it expires", why=str(error) or "NATS does not answer")
        self._emit(LeaseReleased())

    async def _hold(self, patient: bool) -> None:
        revision = await self._taken(patient)
        self._emit(LeaseTaken())
        while revision:
            await asyncio.sleep(self._lasts / 3)
            revision = await self._renewed(revision)
        _log.error("another agent of this device took the lease; nothing is written any more")
        self._emit(LeaseLost())

    async def _taken(self, patient: bool) -> int:
        """Until it is ours; its revision."""
        watch, backoff = _Watch(self._lasts), Backoff(0.5, 5)
        while True:
            try:
                kv = (await self._channel.bus()).kv(AGENT_LEASE)
                entry = await kv.get(self._device)
                if not patient or self._is_ours(entry) or _is_free(entry) or watch.expired(entry):
                    return await self._write(kv, entry, self._mine())
            except Conflict:
                continue
            except FleetError as error:
                _log.warning("lease not taken yet", why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                await asyncio.sleep(_LOOK)

    async def _renewed(self, revision: int) -> int:
        """Renew, however long NATS is away; the new revision, or 0 if another agent has it now."""
        backoff = Backoff(0.5, 5)
        while True:
            kv = (await self._channel.bus()).kv(AGENT_LEASE)
            try:
                return await kv.update(self._device, self._mine(), revision=revision)
            except Conflict:
                lease = await self._seen(kv)
                if lease is None:
                    return await self._made_anew(kv)  # its keys were deleted, and nobody took it
                if not self._is_ours(lease):
                    return 0
                revision = lease.revision  # it was written; only the acknowledgement was lost
            except FleetError as error:
                _log.warning("lease not renewed yet", why=error.what)
                await asyncio.sleep(backoff.next())

    async def _made_anew(self, kv: KV[AgentLease]) -> int:
        try:
            return await kv.create(self._device, self._mine())
        except Conflict:
            return 0

    async def _seen(self, kv: KV[AgentLease]) -> Found:
        backoff = Backoff(0.5, 5)
        while True:
            try:
                return await kv.get(self._device)
            except FleetError:
                await asyncio.sleep(backoff.next())

    async def _write(self, kv: KV[AgentLease], over: Found, lease: AgentLease) -> int:
        if over is None:
            return await kv.create(self._device, lease)
        return await kv.update(self._device, lease, revision=over.revision)

    def _mine(self) -> AgentLease:
        return AgentLease(self._process.instance, self._generation, time.time() + self._lasts, self._process.boot_id)

    def _is_ours(self, lease: Found) -> bool:
        return isinstance(lease, Entry) and lease.value.instance_id == self._process.instance


def _is_free(lease: Found) -> bool:
    return not isinstance(lease, Entry) or not lease.value.instance_id


class _Watch:
    """Whether a lease has stood still for too long, by this process' own clock: other clocks may be years off."""

    def __init__(self, lasts: float) -> None:
        self._lasts = lasts
        self._revision = 0
        self._since = time.monotonic()

    def expired(self, lease: Found) -> bool:
        revision = lease.revision if lease else 0
        if revision != self._revision:
            self._revision, self._since = revision, time.monotonic()
        return time.monotonic() - self._since > self._lasts
