"""Writing and deleting keys in NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec
import structlog

from fleet.bus import BadEntry, Bus, Entry
from fleet.contract.buckets import (
    AGENT_TARGET,
    APP_BUCKETS,
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_STATE,
    IDENTITIES,
    Bucket,
)
from fleet.contract.errors import Conflict
from fleet.contract.wire import AgentTarget, Identity, IdentityState
from fleet.operator.reconcile.actions import (
    DeleteDesired,
    DeleteIdentity,
    DeleteState,
    Purge,
    WriteDesired,
    WriteIdentity,
    WriteIndex,
    WriteTarget,
)
from fleet.operator.store import Store

log = structlog.get_logger()

KeyAction = (
    WriteIdentity | WriteDesired | WriteIndex | DeleteDesired | DeleteState | WriteTarget | DeleteIdentity | Purge
)


class Keys:
    """The buckets, and what the store knows of them."""

    def __init__(self, app: Bus, control: Bus, store: Store, overtaken: Callable[[], None]) -> None:
        """`app` is where the shared buckets are, `control` where the registry is.

        `overtaken` is called when a decision was made of what is no longer so: it is to be made again.
        """
        self._app = app
        self._store = store
        self._overtaken = overtaken
        self._identities = control.kv(IDENTITIES)
        self._indexes = app.kv(DESIRED_INDEX)
        self._entries = app.kv(DESIRED_STATE)
        self._states = app.kv(DEVICE_STATE)
        self._targets = app.kv(AGENT_TARGET)

    async def do(self, action: KeyAction) -> None:
        """Carry out one.

        Raises:
            FleetError: NATS did not acknowledge it.
        """
        match action:
            case WriteIdentity(_, identity) if self._barred_since(identity):
                self._overtaken()
            case WriteIdentity(subject, identity):
                await self._identities.put(subject, identity)
                self._store.put_identity(subject, identity)
                log.info("identity written", device=identity.device, state=identity.state.value)
            case WriteDesired(device, deployment, desired):
                await self._entries.put(f"{device}.{deployment}", desired)
                self._store.put_desired(device, deployment, desired)
            case WriteIndex(device, index):
                await self._indexes.put(device, index)
                self._store.put_index(device, index)
                log.info("desired state written", device=device, deployments=index.deployments)
            case DeleteDesired(device, deployment):
                await self._entries.delete(f"{device}.{deployment}")
                self._store.put_desired(device, deployment, None)
            case DeleteState(device, deployment):
                await self._states.delete(f"{device}.{deployment}")
                self._store.put_state(device, deployment, None)
            case WriteTarget():
                await self._order(action)
            case DeleteIdentity(subject):
                await self._identities.delete(subject)
                self._store.put_identity(subject, None)
            case Purge(device):
                await self._purge(device)

    def _barred_since(self, identity: Identity) -> bool:
        """It was revoked after the decision to let it in."""
        return identity.state is IdentityState.ACTIVE and self._store.barred(identity.device)

    async def _order(self, action: WriteTarget) -> None:
        """Write it over what the decision was made of. What was overtaken is not written, but read and decided anew."""
        found = await self._targets.get(action.device)
        if _value(found) == action.over:
            try:
                await self._write_target(action, found)
            except Conflict:
                found = await self._targets.get(action.device)
            else:
                self._store.put_target(action.device, action.target)
                log.info("agent ordered", device=action.device, target=msgspec.to_builtins(action.target, enc_hook=str))
                return
        self._store.put_target(action.device, _value(found))
        self._overtaken()

    async def _write_target(self, action: WriteTarget, over: Entry[AgentTarget] | BadEntry | None) -> None:
        # A deleted key has a revision, too: `create` writes over it.
        if over is None:
            await self._targets.create(action.device, action.target)
        else:
            await self._targets.update(action.device, action.target, revision=over.revision)

    async def _purge(self, device: str) -> None:
        """Every key, also those that we do not understand."""
        views = [self._app.kv(bucket) for bucket in cast("tuple[Bucket[msgspec.Struct], ...]", APP_BUCKETS)]
        patterns = (device, f"{device}.>")
        found = await asyncio.gather(*(view.read_all(pattern) for view in views for pattern in patterns))
        owners = [view for view in views for _ in patterns]
        for view, entries in zip(owners, found, strict=True):
            for entry in entries:
                await view.delete(entry.key)
        self._store.forget_device(device)
        log.info("device's keys deleted", device=device, keys=sum(len(entries) for entries in found))


def _value(found: Entry[AgentTarget] | BadEntry | None) -> AgentTarget | None:
    return found.value if isinstance(found, Entry) else None
