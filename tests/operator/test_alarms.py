"""An alarm rings when a device falls silent, and not for each heartbeat before."""

from __future__ import annotations

import time

import pytest

from fleet.contract.names import AgentVersion
from fleet.contract.objects import FINALIZER, Device, Metadata
from fleet.contract.wire import Heartbeat
from fleet.operator.plan.alarms import Alarms
from fleet.operator.plan.planner import Planner
from fleet.operator.reconcile.actions import PatchDeviceStatus
from fleet.operator.reconcile.guard import Guard, raised
from fleet.operator.store import Store


def test_an_alarm_rings_when_a_device_falls_silent_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    store, alarms = Store(offline_after=3), Alarms(Guard(raised))
    alarms.decided(store.snapshot(), "never-heard")
    assert alarms.next() is None
    store.put_heartbeat("pi-1", _beat(10), age=10, revision=1)
    alarms.decided(store.snapshot(), "pi-1")
    assert alarms.next() == pytest.approx(1020, abs=0.01)
    clock = 1015
    store.put_heartbeat("pi-1", _beat(10), age=0, revision=2)
    clock = 1021
    assert alarms.due(store.snapshot()) == [], "it was heard since"
    assert alarms.next() == pytest.approx(1045, abs=0.01)
    clock = 1046
    assert alarms.due(store.snapshot()) == ["pi-1"]
    alarms.decided(store.snapshot(), "pi-1")
    assert alarms.next() is None


def test_a_device_that_announces_shorter_pauses_is_looked_at_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    store, alarms = Store(offline_after=3), Alarms(Guard(raised))
    store.put_heartbeat("pi-1", _beat(100), age=0, revision=1)
    alarms.decided(store.snapshot(), "pi-1")
    assert not store.put_heartbeat("pi-1", _beat(100), age=0, revision=2), "no news"
    assert store.put_heartbeat("pi-1", _beat(1), age=0, revision=3), "its deadline is earlier now"
    alarms.decided(store.snapshot(), "pi-1")
    assert alarms.next() == pytest.approx(1003, abs=0.01)


def test_what_rings_too_early_calls_for_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    store = Store(offline_after=3)
    planner = Planner(store.changes)
    meta = Metadata("pi-1", uid="1", resource_version="1", generation=1, finalizers=(FINALIZER,))
    store.devices.put(Device(meta))
    store.put_heartbeat("pi-1", _beat(10), age=0, revision=1)
    planner.plan(store.snapshot(), raised)
    clock = 1020
    store.put_heartbeat("pi-1", _beat(10), age=0, revision=2)
    clock = 1031
    assert not planner.alarmed(store.snapshot(), raised), "it was heard since"
    assert planner.next_alarm() == pytest.approx(1050, abs=0.01)
    clock = 1051
    assert planner.alarmed(store.snapshot(), raised)
    told = planner.plan(store.snapshot(), raised).actions
    claims = {one.type: one.reason for it in told if isinstance(it, PatchDeviceStatus) for one in it.status.conditions}
    assert claims["Online"] == "HeartbeatMissed"


def test_a_device_that_is_forgotten_rings_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    store, alarms = Store(offline_after=3), Alarms(Guard(raised))
    store.put_heartbeat("pi-1", _beat(1), age=0, revision=1)
    alarms.decided(store.snapshot(), "pi-1")
    alarms.forget("pi-1")
    clock = 1100
    assert alarms.due(store.snapshot()) == []


def _beat(interval: float) -> Heartbeat:
    return Heartbeat(AgentVersion("v0.1.0"), "instance", "boot", 1, interval)
