"""How long a command waits by itself, and how often it tells how it goes."""

from __future__ import annotations

import time

import pytest

from fleet.cli.waiting import ProgressPrinter, limit
from fleet.contract.objects import DeploymentSpec, Selector, Strategy, StrategyType
from fleet.contract.wire import Container, Health

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
