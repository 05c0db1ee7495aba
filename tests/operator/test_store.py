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
from fleet.operator.objects import Shelf, parse
from fleet.operator.store import Store
from fleet.operator.strays import Strays

BEAT = Heartbeat(AgentVersion("v0.1.0"), "instance", "boot", 1, 10)


def device(version: int, name: str = "pi-1", **spec: object) -> Device:
    meta = Metadata(name, "fleet", f"uid-{name}", str(version))
    return Device(meta, msgspec.structs.replace(DeviceSpec(), **spec))


def test_a_newer_object_is_news_and_an_older_one_is_not() -> None:
    shelf: Shelf[Device] = Shelf()
    assert shelf.put(device(5))
    assert not shelf.put(device(5)), "told twice"
    assert not shelf.put(device(7)), "only its resource version is new"
    assert not shelf.put(device(6, revoked=True)), "older"
    assert not shelf.items["pi-1"].spec.revoked
    assert shelf.put(device(8, revoked=True))


def test_an_object_that_is_gone_does_not_come_back_by_an_older_list() -> None:
    shelf: Shelf[Device] = Shelf()
    shelf.put(device(5))
    assert shelf.remove("pi-1", at=9)
    assert not shelf.replace([device(5)], at=8)
    assert shelf.items == {}
    assert shelf.put(device(10)), "created again"


def test_a_list_takes_away_what_it_lacks_but_nothing_newer() -> None:
    shelf: Shelf[Device] = Shelf()
    shelf.put(device(5, "old"))
    shelf.put(device(12, "new"))
    assert shelf.replace([device(6, "other")], at=10)
    assert set(shelf.items) == {"new", "other"}
    assert not shelf.replace([device(12, "new"), device(6, "other")], at=13)


def test_objects_outside_the_contract_are_refused_and_a_status_outside_it_is_none() -> None:
    def raw(name: str, spec: object, status: object = None) -> bytes:
        return msgspec.json.encode({"metadata": {"name": name}, "spec": spec, "status": status or {}})

    assert parse(raw("pi-1", {}, {"conditions": "none"}), Device).status.conditions == ()
    for bad in (raw("pi.1", {}), raw("Pi", {}), raw("pi-1", {"revoked": "yes"}), raw("x" * 64, {})):
        with pytest.raises(InvalidInput):
            parse(bad, Device)
    with pytest.raises(InvalidInput):
        parse(raw("web", {"workload": {"type": "spaceship"}}), FleetDeployment)


def test_a_heartbeat_is_news_only_when_the_device_was_offline() -> None:
    store = Store(offline_after=3)
    assert store.put_heartbeat("pi-1", BEAT, age=0, revision=0)
    assert not store.put_heartbeat("pi-1", BEAT, age=0, revision=0)
    assert store.put_heartbeat("pi-2", BEAT, age=31, revision=4)
    assert store.put_heartbeat("pi-2", BEAT, age=0, revision=0), "back"


def test_reading_a_heartbeat_again_does_not_make_it_younger() -> None:
    store = Store(offline_after=3)
    store.put_heartbeat("pi-1", BEAT, age=100, revision=4)
    at = store.heard["pi-1"].at
    assert not store.put_heartbeat("pi-1", BEAT, age=-3600, revision=4), "the clock was set back by an hour"
    assert store.heard["pi-1"].at == at
    assert not store.snapshot().online("pi-1")


def test_what_was_heard_is_not_replaced_by_an_older_read() -> None:
    store = Store(offline_after=3)
    store.put_heartbeat("pi-1", BEAT, age=0, revision=0)
    at = store.heard["pi-1"].at
    store.put_heartbeat("pi-1", BEAT, age=20, revision=4)
    assert store.heard["pi-1"].at == at


def test_the_next_deadline_is_that_of_the_next_device_to_fall_silent() -> None:
    store = Store(offline_after=3)
    assert store.next_deadline() is None
    store.devices.put(device(1, "pi-1"))
    store.devices.put(device(2, "pi-2"))
    store.put_heartbeat("pi-1", BEAT, age=10, revision=1)
    store.put_heartbeat("pi-2", BEAT, age=100, revision=2)
    store.put_heartbeat("nobody", BEAT, age=29, revision=3)
    due = store.next_deadline()
    assert due is not None
    assert due - time.monotonic() == pytest.approx(20, abs=1)


def test_an_outage_of_nats_takes_nobody_offline_and_brings_nobody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    store = Store(offline_after=3)
    store.devices.put(device(1, "pi-1"))
    store.put_heartbeat("pi-1", BEAT, age=0, revision=1)
    store.put_heartbeat("gone", BEAT, age=31, revision=2)

    def online() -> tuple[bool, bool]:
        return store.snapshot().online("pi-1"), store.snapshot().online("gone")

    store.hearing(False)
    clock += 1000
    assert online() == (True, False)
    store.hearing(True)
    assert online() == (True, False)
    assert store.next_deadline() == clock + 30, "it has its usual time to be heard again"
    clock += 29
    store.hearing(True)
    assert online() == (True, False)
    clock += 2
    assert online() == (False, False)


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
    strays = Strays(metrics)

    def counted() -> tuple[float | None, float | None]:
        labels = {"place": "bucket"}
        total = metrics.registry.get_sample_value("fleet_operator_strays_total", labels)
        return total, metrics.registry.get_sample_value("fleet_operator_strays_present", labels)

    strays.note("bucket", "key", "why")
    strays.note("bucket", "key", "why")
    assert counted() == (1, 1)
    strays.note("bucket", "key", "another reason")
    assert counted() == (2, 1)
    strays.forget("bucket", "key")
    assert counted() == (2, 0)
    strays.note("bucket", "key", "why")
    strays.keep("bucket", [])
    assert counted() == (3, 0)
