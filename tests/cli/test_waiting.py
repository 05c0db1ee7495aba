"""How long a command waits by itself, and how often it tells how it goes."""

from __future__ import annotations

import time

import msgspec
import pytest

from fleet.cli import waiting
from fleet.cli.waiting import ProgressPrinter, limit
from fleet.contract.errors import FleetError
from fleet.contract.names import DeploymentName
from fleet.contract.objects import (
    Condition,
    DeploymentSpec,
    DeploymentStatus,
    Device,
    DeviceStatus,
    FleetDeployment,
    Metadata,
    Selector,
    Strategy,
    StrategyType,
    WorkloadStatus,
)
from fleet.contract.wire import Container, Health, Reason
from fleet.kube.client import KubeClient

CHECKED = Container("web:1", health=Health(("true",), interval=10, timeout=5, retries=3, start_period=15))


def spec(workload: Container, at_once: int = 0) -> DeploymentSpec:
    strategy = Strategy(StrategyType.ROLLING, at_once) if at_once else Strategy()
    return DeploymentSpec(workload, Selector(), strategy)


@pytest.mark.parametrize(
    ("wanted", "devices", "within"),
    [
        (spec(Container("web:1")), 0, 60),
        (spec(Container("web:1")), 1000, 60),
        (spec(CHECKED), 1000, 120),
        (spec(Container("web:1"), at_once=1), 7, 420),
        (spec(Container("web:1"), at_once=3), 7, 180),
        (spec(CHECKED, at_once=3), 7, 360),
        (spec(CHECKED, at_once=3), 0, 120),
    ],
)
def test_the_limit_is_a_time_for_each_batch_of_devices(wanted: DeploymentSpec, devices: int, within: float) -> None:
    assert limit(wanted, devices) == within


def test_a_change_is_told_once_and_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    said: list[str] = []
    printer = ProgressPrinter(said.append, pause=3)
    for moment, now in ((0, "a"), (1, "a"), (2, "b"), (2.9, "c"), (3, "c"), (9, "c"), (10, "d"), (11, "e")):
        clock = 100 + moment
        printer.update(now)
    assert said == ["a", "c", "d"]
    printer.end("e")
    printer.end("e")
    assert said == ["a", "c", "d", "e"]


@pytest.mark.parametrize("reason", [Reason.CRASH_LOOP.value, Reason.EXITED.value, "OfANewerServer"])
def test_what_to_do_can_be_typed(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    item = FleetDeployment(Metadata("web", "fleet-system", generation=1), spec(Container("web:1")))
    ready = Condition("Ready", "False", "DevicesFailed", "1 of 1 devices failed", "2026-11-29T12:00:00Z")
    item = msgspec.structs.replace(item, status=DeploymentStatus(1, failed=1, matched=1, conditions=(ready,)))
    told = WorkloadStatus("web", 1, "Failed", reason, "exit code 1")
    device = Device(Metadata("pi-3", "fleet-system"), status=DeviceStatus(workloads=(told,)))

    def read(*_: object) -> FleetDeployment:
        return item

    def read_all(*_: object) -> list[Device]:
        return [device]

    monkeypatch.setattr(waiting, "read", read)
    monkeypatch.setattr(waiting, "read_all", read_all)
    with pytest.raises(FleetError) as caught:
        waiting.await_ready(KubeClient.__new__(KubeClient), DeploymentName("web"), "fleet-system", 1)
    command = (
        "fleet device logs pi-3 --deployment web" if reason in {"CrashLoop", "Exited"} else "fleet device show pi-3"
    )
    assert f"`{command}`" in caught.value.next_step


@pytest.mark.parametrize(("terminal", "lines"), [(True, 20), (False, 4)])
def test_a_log_gets_fewer_lines_than_a_terminal(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, lines: int) -> None:
    clock = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr("fleet.cli.waiting.watched", lambda: terminal)
    said: list[str] = []
    printer = ProgressPrinter(said.append)
    for _ in range(100):
        clock += 0.1
        printer.update(f"{clock}")
    assert len(said) == pytest.approx(lines, abs=3)
