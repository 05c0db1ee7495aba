"""What agents up to two releases behind report: each deployment under a key of its own, which is not stored.

The operator answers them as the stream did, and puts what they say into the device's one value (decision 029).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

import msgspec
import structlog

from fleet.contract.buckets import DEVICE_STATE, SINGLE_STATE
from fleet.contract.errors import InvalidInput, why
from fleet.contract.names import DeploymentName, DeviceId
from fleet.contract.states import Entries, entry
from fleet.contract.wire import DeviceState
from fleet.nats.bus import BadEntry, Bus, Deleted, Entry
from fleet.operator.act.states import States
from fleet.operator.reader import Change, Reader
from fleet.operator.store import Store
from fleet.process.log_budget import Sampler

log = structlog.get_logger()

_AT_ONCE = 64
"""Devices whose values are written at the same time."""
_EVERY = "*.*"


async def adopt(app: Bus) -> None:
    """Put what an earlier server stored under such keys into the values, and remove the keys.

    Raises:
        FleetError: NATS did not answer.
    """
    found = await app.kv(SINGLE_STATE).read_all(_EVERY)
    if not found:
        return
    kept: defaultdict[str, Entries] = defaultdict(Entries)
    for one in found:
        device, _, deployment = one.key.partition(".")
        if isinstance(one, Entry):
            kept[device][deployment] = entry(one.value)
    states = States(app)
    for device, entries in kept.items():
        await states.change(device, lambda now, old=entries: now.update(old | now))
    await app.purge(SINGLE_STATE, _EVERY)
    log.info("states under keys of their own were put into one value a device", devices=len(kept), keys=len(found))


class _Report(msgspec.Struct, frozen=True):
    """`counts` is false for a report that is answered and dropped: an error would block the agent's other reports."""

    state: DeviceState | None
    reply: str
    counts: bool


class SingleReports:
    """The reports on their way into the values, the newest of each deployment; `news` is called when they are there."""

    def __init__(self, app: Bus, states: States, store: Store, news: Callable[[], None]) -> None:
        self._app = app
        self._states = states
        self._store = store
        self._news = news
        self._waiting: defaultdict[str, dict[str, _Report]] = defaultdict(dict)
        self._writing: dict[str, asyncio.Task[None]] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._sampler = Sampler()

    async def follow(self, devices: Reader) -> None:
        """Answer from now on.

        Raises:
            FleetError: NATS did not answer.
        """
        await devices.follow_with_reply(SINGLE_STATE, _EVERY, self._heard)

    async def stop(self) -> None:
        """Drop the waiting reports; an agent without an answer reports again."""
        tasks = list(self._writing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _heard(self, change: Change[DeviceState], reply: bytes) -> None:
        device, _, deployment = change.key.partition(".")
        self._waiting[device][deployment] = _Report(
            state=change.value if isinstance(change, Entry) else None,
            reply=reply.decode("ascii", "replace"),
            counts=not isinstance(change, BadEntry) and self._is_its_own(device, deployment, change),
        )
        if device not in self._writing:
            self._writing[device] = asyncio.create_task(self._write(device), name=f"states of {device}")

    def _is_its_own(self, device: str, deployment: str, change: Change[DeviceState]) -> bool:
        """Whether the device was given the deployment, or takes back what it said of one."""
        try:
            known = self._store.indexes.get(DeviceId(device))
            DeploymentName(deployment)
        except InvalidInput:
            return False
        if isinstance(change, Deleted):
            return deployment in self._store.states.get(device, {})
        return known is not None and deployment in known.deployments

    async def _write(self, device: str) -> None:
        try:
            while reports := self._waiting.pop(device, None):
                async with self._limit:
                    await self._put(device, reports)
        except Exception as error:
            # Nobody answers, so the agent reports again.
            untold = self._sampler.take(device, time.monotonic())
            if untold is not None:
                more = {"untold": untold} if untold else {}
                log.warning("states not written", device=device, why=why(error), **more)
        finally:
            del self._writing[device]
            self._waiting.pop(device, None)

    async def _put(self, device: str, reports: dict[str, _Report]) -> None:
        counting = {deployment: report for deployment, report in reports.items() if report.counts}

        def edit(entries: Entries) -> None:
            for deployment, report in counting.items():
                if report.state is None:
                    entries.pop(deployment, None)
                else:
                    entries[deployment] = entry(report.state)

        revision = await self._states.change(device, edit) if counting else 0
        for deployment, report in counting.items():
            if self._store.put_state(device, deployment, report.state):
                self._news()
        acknowledged = msgspec.json.encode({"stream": DEVICE_STATE.stream, "seq": revision})
        for report in reports.values():
            if report.reply:
                await self._app.answer(report.reply, acknowledged)
