"""Denying a device and ending its sessions, beside the passes: it waits for nothing that a device writes.

It is driven by `Device` objects alone. What it does, the next pass would do as well, later; so it may be cut off at any
point.
"""

from __future__ import annotations

import asyncio

import structlog

from fleet.bus import KV
from fleet.contract.errors import FleetError
from fleet.contract.names import DeviceId
from fleet.contract.wire import Identity, IdentityState
from fleet.operator.act.drops import Drops
from fleet.operator.reconcile.actions import Kick
from fleet.operator.store import Store

log = structlog.get_logger()

_AGAIN = 0.2
"""Seconds before what failed is tried again."""


class Revocations:
    """Whoever may not come in, one after the other."""

    def __init__(self, store: Store, registry: KV[Identity], drops: Drops) -> None:
        """`registry` is on a connection that no device writes to."""
        self._store = store
        self._registry = registry
        self._drops = drops
        self._due: asyncio.Queue[str] = asyncio.Queue()

    def look(self, device: str) -> None:
        """A device changed; nothing is done unless it may not come in."""
        if self._store.barred(device):
            self._due.put_nowait(device)

    def look_at_all(self) -> None:
        """Any of them may have changed."""
        for device in self._store.devices.items:
            self.look(device)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            device = await self._due.get()
            try:
                await self._revoke(device)
            except FleetError as error:
                log.warning("not denied yet", device=device, why=error.what)
                asyncio.get_running_loop().call_later(_AGAIN, self.look, device)

    async def _revoke(self, device: str) -> None:
        known = {subject: one.state for subject, one in self._store.identities.items() if one.device == device}
        if not self._store.barred(device) or known.keys() <= self._store.dropped.get(device, frozenset[str]()):
            return
        denied = Identity(DeviceId(device), IdentityState.REVOKED)
        for subject, state in known.items():
            if state is not IdentityState.REVOKED:
                await self._registry.put(subject, denied)
                self._store.put_identity(subject, denied)
                log.info("identity written", device=device, state=denied.state.value)
        self._drops.begin(Kick(device, frozenset(known), banned=True))
