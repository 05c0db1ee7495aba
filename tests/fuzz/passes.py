"""A reconcile over what a device wrote: its bytes go through the operator's own feeds into the store.

One device writes whatever the input says; the other is honest. No input may end a pass, or be taken for a fault of
ours, and none takes anything away from the other device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from fleet.contract.buckets import AGENT_LEASE, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE, IDENTITIES, Bucket
from fleet.contract.names import AgentVersion, DeviceId, Digest
from fleet.contract.objects import FINALIZER, DeploymentSpec, Device, DeviceSpec, FleetDeployment, Metadata, Selector
from fleet.contract.wire import Container, Identity, IdentityState, encode
from fleet.nats.bus import KV
from fleet.nats.headers import Delivery
from fleet.operator.feeds import app_feeds, registry_feed
from fleet.operator.metrics import Metrics
from fleet.operator.reconcile import reconcile
from fleet.operator.reconcile.actions import DeleteDesired, DeleteIdentity, Kick, Purge, RemoveFinalizer
from fleet.operator.skipped_keys import SkippedKeys
from fleet.operator.store import Store
from fleet.operator.upgrade.view import Artifact
from tests.fuzz.decoders import done

WRITTEN = (DEVICE_INFO, DEVICE_STATE, DEVICE_HEARTBEAT, AGENT_LEASE)
END = b"\x00\x01"
"""Between two writes of an input. The first byte of each chooses the bucket, what follows up to a zero ends the key."""
_FOREIGN = "pi-3"
_HONEST = "pi-1"
_VERSION = AgentVersion("v0.2.0")
_TAKING = (DeleteDesired, DeleteIdentity, Kick, Purge, RemoveFinalizer)
_METRICS = Metrics()


class _Strict(SkippedKeys):
    def note(self, place: str, key: str, why: str) -> None:
        if "not foreseen" in why:
            raise AssertionError(f"{place}/{key}: {why}")


class _Ears:
    """A source that says what it is told to say."""

    def __init__(self) -> None:
        self.heard: dict[str, list[Callable[[Any], None]]] = {}

    async def follow(self, bucket: Bucket[Any], pattern: str, heard: Callable[[Any], None]) -> None:
        self.heard.setdefault(bucket.name, []).append(heard)

    async def read_all(self, bucket: Bucket[Any], pattern: str) -> list[Any]:
        return []

    def say(self, bucket: Bucket[Any], key: bytes, data: bytes | None) -> None:
        kv: KV[Any] = KV(cast("Any", None), cast("Any", None), bucket)
        change = kv.read(Delivery(bucket.subject("").encode() + key, b"", data, 0), 1e9)
        for heard in self.heard[bucket.name]:
            heard(change)


def _device(name: str) -> Device:
    meta = Metadata(name, "fleet", f"uid-{name}", "1", 1, "2026-01-01T00:00:00Z", finalizers=(FINALIZER,))
    return Device(
        meta, DeviceSpec(subject=f"sub-{name}", labels={"a": "b"}, agent_version=str(_VERSION), agent_order=1)
    )


def _decided(store: Store) -> None:
    def troubled(kind: str, name: str, error: Exception) -> None:
        raise AssertionError(f"{kind} {name}") from error

    actions = reconcile(store.snapshot(), troubled)
    msgspec.json.encode(actions, enc_hook=str)
    taken = [str(one) for one in actions if isinstance(one, _TAKING) and _HONEST in str(one)]
    assert not taken, f"a device takes from another: {taken}"


def _stage() -> tuple[Store, _Ears]:
    store, ears = Store(3), _Ears()
    skipped = _Strict(_METRICS)
    for feed in (*app_feeds(store, skipped, _METRICS), registry_feed(store, skipped)):
        done(feed.follow(cast("Any", ears), lambda: None))
    for name in (_HONEST, _FOREIGN):
        store.devices.put(_device(name))
        identity = Identity(DeviceId(name), IdentityState.ACTIVE)
        ears.say(IDENTITIES, f"sub-{name}".encode(), encode(identity))
    meta = Metadata("web", "fleet", "uid-web", "1", 1, "2026-01-01T00:00:00Z", finalizers=(FINALIZER,))
    store.deployments.put(FleetDeployment(meta, DeploymentSpec(Container("image:1"), Selector({"a": "b"}))))
    store.put_published(_VERSION, Artifact(Digest("sha256:" + "0" * 64), 5))
    return store, ears


def decide(data: bytes) -> None:
    """One input.

    Raises:
        AssertionError: a pass met what nobody foresaw, or the other device lost something.
    """
    store, ears = _stage()
    _decided(store)
    for write in data.split(END)[:20]:
        bucket = WRITTEN[write[0] % len(WRITTEN)] if write else DEVICE_INFO
        key, _, value = write[1:].partition(b"\x00")
        at = _FOREIGN.encode() + (b"." + key if key else b"")
        ears.say(bucket, at, value if write[:1] < b"\xf0" else None)
        _decided(store)
