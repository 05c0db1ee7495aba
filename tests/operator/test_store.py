"""What counts as news, whatever the order in which it is told."""

from __future__ import annotations

import time

import msgspec
import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.objects import Device, DeviceSpec, FleetDeployment, Metadata
from fleet.contract.wire import DeviceState, Heartbeat, Identity, IdentityState, Phase, Reason
from fleet.operator.metrics import Metrics
from fleet.operator.objects import ObjectCache, parse
from fleet.operator.plan.alarms import moments
from fleet.operator.skipped_keys import SkippedKeys
from fleet.operator.store import Store

BEAT = Heartbeat(AgentVersion("v0.1.0"), "instance", "boot", 1, 10)


def device(version: int, name: str = "pi-1", **spec: object) -> Device:
    meta = Metadata(name, "fleet", f"uid-{name}", str(version))
    return Device(meta, msgspec.structs.replace(DeviceSpec(), **spec))


def test_a_newer_object_is_news_and_an_older_one_is_not() -> None:
    cache: ObjectCache[Device] = ObjectCache()
    assert cache.put(device(5))
    assert not cache.put(device(5)), "told twice"
    assert not cache.put(device(7)), "only its resource version is new"
    assert not cache.put(device(6, revoked=True)), "older"
    assert not cache.items["pi-1"].spec.revoked
    assert cache.put(device(8, revoked=True))


def test_an_object_that_is_gone_does_not_come_back_by_an_older_list() -> None:
    cache: ObjectCache[Device] = ObjectCache()
    cache.put(device(5))
    assert cache.remove("pi-1", at=9)
    assert not cache.put(device(5))
    assert not cache.keep({"pi-1"}, at=8)
    assert cache.items == {}
    assert cache.put(device(10)), "created again"


def test_a_list_takes_away_what_it_lacks_but_nothing_newer() -> None:
    cache: ObjectCache[Device] = ObjectCache()
    cache.put(device(5, "old"))
    cache.put(device(12, "new"))
    assert cache.put(device(6, "other"))
    assert cache.keep({"other"}, at=10)
    assert set(cache.items) == {"new", "other"}
    assert not cache.keep({"new", "other"}, at=13)


def test_objects_outside_the_contract_are_refused_and_a_status_outside_it_is_none() -> None:
    def raw(name: str, spec: object, status: object = None) -> bytes:
        return msgspec.json.encode({"metadata": {"name": name}, "spec": spec, "status": status or {}})

    assert parse(raw("pi-1", {}, {"conditions": "none"}), Device).status.conditions == ()
    for bad in (raw("pi.1", {}), raw("Pi", {}), raw("pi-1", {"revoked": "yes"}), raw("x" * 64, {})):
        with pytest.raises(InvalidInput):
            parse(bad, Device)
    spaceship = {"workload": {"type": "spaceship"}}
    with pytest.raises(InvalidInput):
        parse(raw("web", spaceship), FleetDeployment)
    leaving = {"metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": spaceship}
    assert parse(msgspec.json.encode(leaving), FleetDeployment).spec.paused
    assert parse(msgspec.json.encode({**leaving, "spec": {"revoked": "yes"}}), Device).spec.revoked


def test_a_heartbeat_is_news_only_when_the_device_was_offline() -> None:
    store = Store(offline_after=3)
    assert store.put_heartbeat("pi-1", BEAT, age=0, revision=0)
    assert not store.put_heartbeat("pi-1", BEAT, age=0, revision=0)
    assert store.put_heartbeat("pi-2", BEAT, age=31, revision=4)
    assert store.put_heartbeat("pi-2", BEAT, age=0, revision=0), "back"


def test_reading_a_heartbeat_again_does_not_make_it_younger() -> None:
    store = Store(offline_after=3)
    store.put_heartbeat("pi-1", BEAT, age=100, revision=4)
    at = store.heartbeats["pi-1"].at
    assert not store.put_heartbeat("pi-1", BEAT, age=-3600, revision=4), "the clock was set back by an hour"
    assert store.heartbeats["pi-1"].at == at
    assert not store.snapshot().online("pi-1")


def test_what_was_heard_is_not_replaced_by_an_older_read() -> None:
    store = Store(offline_after=3)
    store.put_heartbeat("pi-1", BEAT, age=0, revision=0)
    at = store.heartbeats["pi-1"].at
    store.put_heartbeat("pi-1", BEAT, age=20, revision=4)
    assert store.heartbeats["pi-1"].at == at


def test_an_outage_of_nats_takes_nobody_offline_and_brings_nobody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    store = Store(offline_after=3)
    store.devices.put(device(1, "pi-1"))
    store.put_heartbeat("pi-1", BEAT, age=0, revision=1)
    store.put_heartbeat("gone", BEAT, age=31, revision=2)

    def online() -> tuple[bool, bool]:
        return store.snapshot().online("pi-1"), store.snapshot().online("gone")

    store.connectivity.devices(False)
    clock += 1000
    assert online() == (True, False)
    store.connectivity.devices(True)
    assert online() == (True, False)
    assert max(moments(store.snapshot(), "pi-1")) == clock + 30, "it has its usual time to be heard again"
    clock += 29
    store.connectivity.devices(True)
    assert online() == (True, False)
    clock += 2
    assert online() == (False, False)


def test_no_sign_of_life_from_nats_is_an_outage_since_it_was_heard_last(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr(time, "time", lambda: clock + 1e9)
    store = Store(offline_after=3)
    store.devices.put(device(1, "pi-1"))
    store.connectivity.answered(True)
    store.put_heartbeat("pi-1", BEAT, age=0, revision=1)
    heard = clock
    clock += 31
    store.connectivity.answered(False)
    assert (store.snapshot().recent("pi-1"), store.snapshot().online("pi-1")) == (False, True)
    assert store.snapshot().silent_since == pytest.approx(heard + 1e9)
    clock += 60
    store.connectivity.devices(False)
    store.connectivity.answered(False)
    assert store.snapshot().silent_since == pytest.approx(heard + 1e9)
    store.connectivity.answered(True)
    assert store.snapshot().silent_since, "its devices are not heard yet"
    store.connectivity.devices(True)
    assert store.snapshot().silent_since == 0
    assert store.connectivity.excused["pi-1"] == clock + 30


def test_a_report_is_news_when_its_verdict_changes() -> None:
    store = Store(offline_after=3)
    state = DeviceState(1, Phase.RUNNING, Reason.STARTED, at=1)
    assert store.put_state("pi-1", "web", state)
    assert not store.put_state("pi-1", "web", msgspec.structs.replace(state, at=2))
    assert store.put_state("pi-1", "web", msgspec.structs.replace(state, generation=2))
    assert store.put_state("pi-1", "web", None)
    assert not store.put_state("pi-1", "web", None)


def test_sessions_are_gone_only_while_the_registry_denies_them() -> None:
    store = Store(offline_after=3)
    pi = DeviceId("pi-1")
    store.put_identity("sub", Identity(pi, IdentityState.REVOKED))
    assert store.sessions_gone(pi, frozenset({"sub"}))
    store.put_identity("sub", Identity(pi, IdentityState.ACTIVE))
    assert store.dropped == {}, "whoever is let in has sessions again"
    assert not store.sessions_gone(pi, frozenset({"sub"})), "let in while its sessions were being ended"
    assert store.dropped == {}


def test_a_stray_is_told_again_when_it_is_strange_in_another_way_or_came_back() -> None:
    metrics = Metrics()
    skipped = SkippedKeys(metrics)

    def counted() -> tuple[float | None, float | None]:
        labels = {"place": "bucket"}
        total = metrics.registry.get_sample_value("fleet_operator_skipped_keys_total", labels)
        return total, metrics.registry.get_sample_value("fleet_operator_skipped_keys_present", labels)

    skipped.note("bucket", "key", "why")
    skipped.note("bucket", "key", "why")
    assert counted() == (1, 1)
    skipped.note("bucket", "key", "another reason")
    assert counted() == (2, 1)
    skipped.forget("bucket", "key")
    assert counted() == (2, 0)
    skipped.note("bucket", "key", "why")
    skipped.keep("bucket", [])
    assert counted() == (3, 0)


def test_a_device_whose_keys_are_deleted_again_calls_for_no_other_pass() -> None:
    """One whose finalizer Kubernetes does not let go of was purged, kicked and purged again, twice a second."""
    store = Store(3)
    store.put_state("pi-1", "web", DeviceState(1, Phase.RUNNING, Reason.STARTED))
    store.sessions_gone("pi-1", frozenset())
    store.changes.clear()
    store.forget_device("pi-1")
    assert "pi-1" in store.changes.devices, "what it ran is gone"
    store.changes.clear()
    store.sessions_gone("pi-1", frozenset())
    assert store.changes, "so that it is purged, and let go"
    store.changes.clear()
    store.forget_device("pi-1")
    assert not store.changes
    assert "pi-1" not in store.dropped, "who has a session by then is not let go"
