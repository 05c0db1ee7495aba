"""Writing and deleting keys in NATS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import cast

import msgspec
import structlog

from fleet.contract.buckets import (
    AGENT_TARGET,
    APP_BUCKETS,
    DESIRED_INDEX,
    DESIRED_STATE,
    IDENTITIES,
    Bucket,
)
from fleet.contract.errors import Conflict, FleetError
from fleet.contract.wire import AgentTarget, Identity, IdentityState
from fleet.nats.bus import BadEntry, Burst, Bus, Entry
from fleet.operator.act.states import States
from fleet.operator.reader import STORED
from fleet.operator.reconcile.actions import (
    DeleteDesired,
    DeleteIdentity,
    DeleteStates,
    Purge,
    WriteDesired,
    WriteIdentity,
    WriteIndex,
    WriteTarget,
)
from fleet.operator.reconcile.secrets import SecretContents, secret_contents
from fleet.operator.store import Store
from fleet.sealing.box import seal

log = structlog.get_logger()

_LOOK = 0.02
"""Seconds between reads of a key that is older than the change that was received."""

_LOGGED = 20
"""If at most this many devices get a new desired state at once, each has a log line."""

KeyAction = WriteIdentity | DeleteDesired | DeleteStates | WriteTarget | DeleteIdentity | Purge
DesiredWrite = WriteDesired | WriteIndex


class Keys:
    """The buckets, and their keys in the store."""

    def __init__(self, app: Bus, control: Bus, states: States, store: Store, overtaken: Callable[[], None]) -> None:
        """`app` is where the shared buckets are, `control` where the registry is, `states` one of the buckets.

        `overtaken` is called when a decision was made of what is no longer so: it is to be made again.
        """
        self._app = app
        self._store = store
        self._overtaken = overtaken
        self._identities = control.kv(IDENTITIES)
        self._indexes = app.kv(DESIRED_INDEX)
        self._entries = app.kv(DESIRED_STATE)
        self._states = states
        self._targets = app.kv(AGENT_TARGET)
        self._burst = Burst(app.client)

    async def write_desired(self, actions: Sequence[DesiredWrite]) -> list[FleetError | None]:
        """Write desired state, of many devices at once; what each write came to.

        Raises:
            Unreachable: NATS did not answer.
        """
        decided = [action for action in actions if isinstance(action, WriteDesired)]
        unsealed, entries = self._sealed(decided)
        indexes = [action for action in actions if isinstance(action, WriteIndex)]
        written = await self._entries.put_all(
            {f"{it.device}.{it.deployment}": it.desired for it in entries}, self._burst
        )
        for entry, error in zip(entries, written, strict=True):
            if error is None:
                self._store.put_desired(entry.device, entry.deployment, entry.desired)
        indexed = await self._indexes.put_all({it.device: it.index for it in indexes}, self._burst)
        for index, error in zip(indexes, indexed, strict=True):
            if error is None:
                self._store.put_index(index.device, index.index)
        _log(indexes)
        keys = {_key(action): error for action, error in zip([*entries, *indexes], [*written, *indexed], strict=True)}
        return [(keys | unsealed)[_key(action)] for action in actions]

    async def do(self, action: KeyAction) -> None:
        """Carry out one.

        Raises:
            FleetError: NATS did not acknowledge it.
        """
        match action:
            case WriteIdentity(_, identity) if self._barred_since(identity):
                self._decide_again(str(identity.device))
            case WriteIdentity(subject, identity):
                await self._identities.put(subject, identity)
                self._store.put_identity(subject, identity)
                log.info("identity written", device=identity.device, state=identity.state.value)
            case DeleteDesired(device, deployment):
                await self._entries.delete(f"{device}.{deployment}")
                self._store.put_desired(device, deployment, None)
            case DeleteStates(device, deployments):
                await self._states.remove(device, deployments)
                known = self._store.states.get(device, {})
                self._store.put_states(device, {name: one for name, one in known.items() if name not in deployments})
            case WriteTarget():
                await self._order(action)
            case DeleteIdentity(subject):
                await self._identities.delete(subject)
                self._store.put_identity(subject, None)
            case Purge(device):
                await self._purge(device)

    def _sealed(self, decided: Sequence[WriteDesired]) -> tuple[dict[tuple[str, str], FleetError], list[WriteDesired]]:
        """The entries with their secrets inside, as they are now, and why others cannot be sealed."""
        failed: dict[tuple[str, str], FleetError] = {}
        entries: list[WriteDesired] = []
        for action in decided:
            try:
                entries.append(self._with_secrets(action))
            except FleetError as error:
                failed[_key(action)] = error
        return failed, entries

    def _with_secrets(self, action: WriteDesired) -> WriteDesired:
        desired = action.desired
        if desired.sealed is None or desired.sealed.data:
            return action
        contents = secret_contents(desired.workload, self._store.secrets.found)
        if not isinstance(contents, SecretContents) or contents.version != desired.sealed.version:
            raise Conflict(
                f"a Secret of {action.deployment} has changed since that was decided", next_step="it is decided again"
            )
        data = seal(contents.contents, desired.sealed.key, action.device, action.deployment)
        sealed = msgspec.structs.replace(desired.sealed, data=data)
        return msgspec.structs.replace(action, desired=msgspec.structs.replace(desired, sealed=sealed))

    def _barred_since(self, identity: Identity) -> bool:
        """It was revoked, or quarantined, after the decision to let it in."""
        return identity.state is IdentityState.ACTIVE and self._store.is_barred(identity.device)

    def _decide_again(self, device: str) -> None:
        self._store.changes.device(device)
        self._overtaken()

    async def _order(self, action: WriteTarget) -> None:
        """Write over the revision that the decision was based on. If it changed, the key is read and decided again."""
        order = await self._decided_on(action)
        if _value(order) == action.over:
            try:
                await self._write_target(action, order)
            except Conflict:
                order = await self._targets.get(action.device)
            else:
                self._store.put_target(action.device, action.target)
                log.info("agent ordered", device=action.device, target=msgspec.to_builtins(action.target, enc_hook=str))
                return
        self._store.put_target(action.device, _value(order))
        self._decide_again(action.device)

    async def _decided_on(self, action: WriteTarget) -> Entry[AgentTarget] | BadEntry | None:
        """What the decision was made of; something else when that has not come to be stored in time."""
        until = time.monotonic() + STORED
        while True:
            entry = await self._targets.get(action.device)
            if _value(entry) == action.over or time.monotonic() >= until:
                return entry
            await asyncio.sleep(_LOOK)

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
        results = await asyncio.gather(*(view.read_all(pattern) for view in views for pattern in patterns))
        owners = [view for view in views for _ in patterns]
        for view, entries in zip(owners, results, strict=True):
            for entry in entries:
                await view.delete(entry.key)
        self._states.forget(device)
        self._store.forget_device(device)
        log.info("device's keys deleted", device=device, keys=sum(len(entries) for entries in results))


def _key(action: DesiredWrite) -> tuple[str, str]:
    return action.device, action.deployment if isinstance(action, WriteDesired) else ""


def _log(indexes: Sequence[WriteIndex]) -> None:
    for index in indexes[:_LOGGED]:
        log.info("desired state written", device=index.device, deployments=index.index.deployments)
    if len(indexes) > _LOGGED:
        log.info("desired state written", further=len(indexes) - _LOGGED)


def _value(entry: Entry[AgentTarget] | BadEntry | None) -> AgentTarget | None:
    return entry.value if isinstance(entry, Entry) else None
