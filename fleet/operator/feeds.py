"""Copies the buckets into the store: every key by complete reads, and every change when it arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Generic, cast

import msgspec

from fleet.contract.buckets import (
    AGENT_LEASE,
    AGENT_TARGET,
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
    IDENTITIES,
    Bucket,
)
from fleet.contract.errors import InvalidInput
from fleet.contract.limits import fit
from fleet.contract.names import DeploymentName, DeviceId, TokenSubject
from fleet.contract.printable import each
from fleet.contract.states import DeviceStates, read_state
from fleet.contract.wire import DeviceInfo, DeviceState, Heartbeat, Identity, T, from_builtins
from fleet.nats.bus import BadEntry, Deleted, Entry
from fleet.operator.metrics import Metrics
from fleet.operator.reader import STORED, Change, Source
from fleet.operator.skipped_keys import SkippedKeys
from fleet.operator.store import Store

Take = Callable[[str, Change[T]], bool]
"""Puts a key's value into the store, or removes it; returns whether that is new. Refuses a key with InvalidInput."""


class Feed(Generic[T]):
    """The keys of one bucket that match one pattern.

    What is heard while a complete read is under way, or just before, is newer than the read. A subscription may miss a
    write, and may hear one that the stream then refused: the next read corrects both.
    """

    def __init__(self, bucket: Bucket[T], pattern: str, take: Take[T], skipped: SkippedKeys) -> None:
        self.bucket = bucket
        self._pattern = pattern
        self._take = take
        self._skipped = skipped
        self._keys: set[str] = set()
        self._heard: dict[str, float] = {}

    async def follow(self, source: Source, news: Callable[[], None]) -> None:
        """From now on, call `news` whenever a relevant change arrives.

        Raises:
            FleetError: NATS did not answer.
        """

        def changed(change: Change[T]) -> None:
            self._heard[change.key] = time.monotonic()
            if self._taken(change):
                news()

        await source.follow(self.bucket, self._pattern, changed)

    async def read(self, source: Source) -> bool:
        """Read every key; returns whether anything was new.

        Raises:
            FleetError: NATS did not answer.
        """
        stored = time.monotonic() - STORED
        self._heard = {key: at for key, at in self._heard.items() if at > stored}
        entries = await source.read_all(self.bucket, self._pattern)
        news = [self._taken(entry) for entry in entries if entry.key not in self._heard]
        vanished = self._keys - {entry.key for entry in entries} - self._heard.keys()
        news += [self._taken(Deleted(key)) for key in vanished]
        return any(news)

    def _taken(self, change: Change[T]) -> bool:
        place, key = self.bucket.name, change.key
        if isinstance(change, Deleted):
            self._keys.discard(key)
        else:
            self._keys.add(key)
        try:
            news = self._take(key, change)
        except InvalidInput as error:
            why = error.what
            news = False
        except Exception as error:
            # One bad value stays one: the feed goes on.
            why = f"not foreseen: {error!r}"
            news = False
        else:
            why = change.why if isinstance(change, BadEntry) else ""
        if why and not isinstance(change, Deleted):
            self._skipped.note(place, key, why)
        else:
            self._skipped.forget(place, key)
        return news


def app_feeds(store: Store, skipped: SkippedKeys, metrics: Metrics) -> Sequence[Feed[msgspec.Struct]]:
    """What the operator reads of the buckets that it shares with the devices."""

    def heartbeat(key: str, change: Change[Heartbeat]) -> bool:
        device = DeviceId(key)
        if isinstance(change, Entry):
            metrics.heartbeats.inc()
            # A heartbeat of an agent that does not tell its time says 0.
            clock = bool(change.value.at) and store.put_clock(device, change.value.at - change.stored)
            return store.put_heartbeat(device, change.value, time.time() - change.stored, change.revision) or clock
        # One that does not parse is no sign of life, and none of death.
        return isinstance(change, Deleted) and store.forget_heartbeat(device)

    feeds = (
        Feed(DESIRED_INDEX, "*", lambda key, change: store.put_index(DeviceId(key), _value(change)), skipped),
        Feed(DESIRED_STATE, "*.*", lambda key, change: store.put_desired(*_pair(key), _value(change)), skipped),
        # Longer keys mean nothing here; they are read only to be told.
        Feed(DESIRED_STATE, "*.*.>", lambda key, _: bool(_pair(key)), skipped),
        Feed(DEVICE_STATE, "*", _States(store, skipped), skipped),
        Feed(DEVICE_INFO, ">", lambda key, change: store.put_info(DeviceId(key), shown_info(change)), skipped),
        Feed(DEVICE_HEARTBEAT, ">", heartbeat, skipped),
        Feed(AGENT_TARGET, ">", lambda key, change: store.put_target(DeviceId(key), _value(change)), skipped),
        Feed(AGENT_LEASE, ">", lambda key, change: store.put_lease(DeviceId(key), _value(change)), skipped),
    )
    return cast("Sequence[Feed[msgspec.Struct]]", feeds)


class _States:
    """Splits a device's value of states. An entry that cannot be read counts as a skipped key; the others are used."""

    def __init__(self, store: Store, skipped: SkippedKeys) -> None:
        self._store = store
        self._skipped = skipped
        self._unread: dict[str, set[str]] = {}

    def __call__(self, key: str, change: Change[DeviceStates]) -> bool:
        device = DeviceId(key)
        states: dict[str, DeviceState] = {}
        unread: dict[str, str] = {}
        for name, raw in change.value.states.items() if isinstance(change, Entry) else ():
            try:
                states[name] = read_state(name, raw)
            except InvalidInput as error:
                unread[name] = error.what
        self._record_unread(device, unread)
        return self._store.put_states(device, states)

    def _record_unread(self, device: str, unread: dict[str, str]) -> None:
        for name in self._unread.pop(device, set()) - unread.keys():
            self._skipped.forget(DEVICE_STATE.name, f"{device}.{name}")
        for name, why in unread.items():
            self._skipped.note(DEVICE_STATE.name, f"{device}.{name}", why)
        if unread:
            self._unread[device] = set(unread)


def registry_feed(store: Store, skipped: SkippedKeys) -> Feed[Identity]:
    """What the operator reads in the control account."""
    return Feed(IDENTITIES, ">", lambda key, change: store.put_identity(TokenSubject(key), _value(change)), skipped)


def shown_info(change: Change[DeviceInfo]) -> DeviceInfo | None:
    """A device's info, escaped: it becomes part of the status, which `kubectl` prints unescaped."""
    if not isinstance(change, Entry):
        return None
    escaped = each(msgspec.to_builtins(change.value, enc_hook=str))  # an escape is longer than what it stands for
    return from_builtins(fit(escaped, DeviceInfo), DeviceInfo)


def _value(change: Change[T]) -> T | None:
    return change.value if isinstance(change, Entry) else None


def _pair(key: str) -> tuple[DeviceId, DeploymentName]:
    device, _, deployment = key.partition(".")
    return DeviceId(device), DeploymentName(deployment)
