"""Quarantines a device that floods, in a separate task: it waits for nothing that a device writes.

The registry says who is kept out and how long, so an operator that was just started goes on where the last one was.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import structlog

from fleet.contract.errors import why
from fleet.contract.wire import Identity, IdentityState
from fleet.nats.bus import KV
from fleet.operator.act.session_dropper import SessionDropper
from fleet.operator.meter import Flood
from fleet.operator.metrics import Metrics
from fleet.operator.reconcile.actions import Kick
from fleet.operator.reconcile.quarantine import quarantined
from fleet.operator.store import Store

log = structlog.get_logger()


class Quarantines:
    """Quarantines devices that flood, one after the other. `wake` is called after each."""

    def __init__(
        self, store: Store, registry: KV[Identity], dropper: SessionDropper, metrics: Metrics, wake: Callable[[], None]
    ) -> None:
        """`registry` is on a connection that no device writes to."""
        self._store = store
        self._registry = registry
        self._dropper = dropper
        self._metrics = metrics
        self._wake = wake

    async def run(self, floods: asyncio.Queue[Flood]) -> None:
        """Work until cancelled."""
        while True:
            flood = await floods.get()
            try:
                await self._shut_out(flood)
            except Exception as error:
                # A device that continues is reported again.
                log.warning("not shut out yet", device=flood.device, why=why(error))

    async def _shut_out(self, flood: Flood) -> None:
        device = self._store.devices.items.get(flood.device)
        known = self._store.identities.get(device.spec.subject) if device is not None else None
        if device is None or known is None or known.device != flood.device or self._store.is_barred(flood.device):
            return
        if known.state is not IdentityState.ACTIVE or flood.since < self._store.admitted.get(flood.device, -math.inf):
            return  # it was counted in part before the last quarantine ended
        if flood.deliberate:
            # Each of its messages counts, so its sessions end now, and once more when it can begin none any more.
            await self._dropper.cut(flood.device)
        now = time.time()
        subject = device.spec.subject
        identity = quarantined(known, device, flood.message, now, lasting=flood.deliberate)
        await self._registry.put(subject, identity)
        self._store.put_identity(subject, identity)
        self._metrics.quarantines.inc()
        log.warning("a device floods, and is shut out", device=flood.device, why=flood.message)
        self._dropper.begin(Kick(flood.device, frozenset({subject}), banned=True))
        self._wake()
