"""Denying a device and ending its sessions, in a separate task: it waits for nothing that a device writes.

It is driven by `Device` objects alone. What it does, the next pass would do as well, later; so it may be cut off at any
point.
"""

from __future__ import annotations

import asyncio

import structlog

from fleet.contract.errors import why
from fleet.contract.names import DeviceId
from fleet.contract.wire import Identity, IdentityState
from fleet.nats.bus import KV
from fleet.operator.act.session_dropper import SessionDropper
from fleet.operator.reconcile.actions import Kick
from fleet.operator.store import Store
from fleet.process.backoff import Backoff

log = structlog.get_logger()

_FIRST_RETRY, _LONGEST_RETRY = 0.2, 2.0
"""Seconds before what failed is tried again."""


class Revocations:
    """Denies the devices that may not log in, one after the other."""

    def __init__(self, store: Store, registry: KV[Identity], dropper: SessionDropper) -> None:
        """`registry` is on a connection that no device writes to."""
        self._store = store
        self._registry = registry
        self._dropper = dropper
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY)

    def look(self, device: str) -> None:
        """A device changed; nothing is done unless it may not come in."""
        if self._store.barred(device):
            self._due.put_nowait(device)

    def check_all(self) -> None:
        """Any of them may have changed."""
        for device in self._store.devices.items:
            self.look(device)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            device = await self._due.get()
            try:
                await self._revoke(device)
                self._backoff.reset()
            except Exception as error:
                log.warning("not denied yet", device=device, why=why(error))
                asyncio.get_running_loop().call_later(self._backoff.next(), self.look, device)

    async def _revoke(self, device: str) -> None:
        known = {subject: self._store.identities[subject].state for subject in self._store.subjects_of(device)}
        if not self._store.barred(device) or known.keys() <= self._store.dropped.get(device, frozenset[str]()):
            return
        denied = Identity(DeviceId(device), IdentityState.REVOKED)
        for subject, state in known.items():
            if state is not IdentityState.REVOKED:
                await self._registry.put(subject, denied)
                self._store.put_identity(subject, denied)
                log.info("identity written", device=device, state=denied.state.value)
        self._dropper.begin(Kick(device, frozenset(known), banned=True))
