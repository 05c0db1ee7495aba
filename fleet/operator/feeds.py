"""From the buckets into the store: every key read in full, and every change as it is heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Generic, cast

import msgspec

from fleet.bus import BadEntry, Deleted, Entry
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
from fleet.contract.wire import DeviceInfo, Heartbeat, Identity, T, from_builtins
from fleet.operator.metrics import Metrics
from fleet.operator.reader import Change, Source
from fleet.operator.store import Store
from fleet.operator.strays import Strays

Take = Callable[[str, Change[T]], bool]
"""Puts a key's value into the store, or takes it out; says whether that is news. Refuses a key with InvalidInput."""


class Feed(Generic[T]):
    """The keys of one bucket that match one pattern.

    What is heard while a complete read is under way is newer than the read. A subscription may miss a write, and may
    hear one that the stream then refused: the next read corrects both.
    """

    def __init__(self, bucket: Bucket[T], pattern: str, take: Take[T], strays: Strays) -> None:
        """Nothing is read yet."""
        self.bucket = bucket
        self._pattern = pattern
        self._take = take
        self._strays = strays
        self._keys: set[str] = set()
        self._heard: set[str] = set()

    async def follow(self, source: Source, news: Callable[[], None]) -> None:
        """Call `news` whenever something that matters was heard, from now on.

        Raises:
            FleetError: NATS did not answer.
        """

        def changed(change: Change[T]) -> None:
            self._heard.add(change.key)
            if self._taken(change):
                news()

        await source.follow(self.bucket, self._pattern, changed)

    async def read(self, source: Source) -> bool:
        """Read every key; says whether that was news.

        Raises:
            FleetError: NATS did not answer.
        """
        self._heard.clear()
        found = await source.read_all(self.bucket, self._pattern)
        news = [self._taken(entry) for entry in found if entry.key not in self._heard]
        vanished = self._keys - {entry.key for entry in found} - self._heard
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
            self._strays.note(place, key, why)
        else:
            self._strays.forget(place, key)
        return news


def app_feeds(store: Store, strays: Strays, metrics: Metrics) -> Sequence[Feed[msgspec.Struct]]:
    """What the operator reads of the buckets that it shares with the devices."""

    def heartbeat(key: str, change: Change[Heartbeat]) -> bool:
        device = DeviceId(key)
        if isinstance(change, Entry):
            metrics.heartbeats.inc()
            return store.put_heartbeat(device, change.value, time.time() - change.stored, change.revision)
        # One that does not parse is no sign of life, and none of death.
        return isinstance(change, Deleted) and store.forget_heartbeat(device)

    feeds = (
        Feed(DESIRED_INDEX, "*", lambda key, change: store.put_index(DeviceId(key), _value(change)), strays),
        Feed(DESIRED_STATE, "*.*", lambda key, change: store.put_desired(*_pair(key), _value(change)), strays),
        # Longer keys mean nothing here; they are read only to be told.
        Feed(DESIRED_STATE, "*.*.>", lambda key, _: bool(_pair(key)), strays),
        Feed(DEVICE_STATE, ">", lambda key, change: store.put_state(*_pair(key), _value(change)), strays),
        Feed(DEVICE_INFO, ">", lambda key, change: store.put_info(DeviceId(key), shown_info(change)), strays),
        Feed(DEVICE_HEARTBEAT, ">", heartbeat, strays),
        Feed(AGENT_TARGET, ">", lambda key, change: store.put_target(DeviceId(key), _value(change)), strays),
        Feed(AGENT_LEASE, ">", lambda key, change: store.put_lease(DeviceId(key), _value(change)), strays),
    )
    return cast("Sequence[Feed[msgspec.Struct]]", feeds)


def registry_feed(store: Store, strays: Strays) -> Feed[Identity]:
    """What the operator reads in the control account."""
    return Feed(IDENTITIES, ">", lambda key, change: store.put_identity(TokenSubject(key), _value(change)), strays)


def shown_info(change: Change[DeviceInfo]) -> DeviceInfo | None:
    """What a device says of itself, escaped: it goes into the status, which `kubectl` prints as it is."""
    if not isinstance(change, Entry):
        return None
    escaped = each(msgspec.to_builtins(change.value, enc_hook=str))  # an escape is longer than what it stands for
    return from_builtins(fit(escaped, DeviceInfo), DeviceInfo)


def _value(change: Change[T]) -> T | None:
    return change.value if isinstance(change, Entry) else None


def _pair(key: str) -> tuple[DeviceId, DeploymentName]:
    device, _, deployment = key.partition(".")
    return DeviceId(device), DeploymentName(deployment)
