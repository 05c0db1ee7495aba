"""How a change spreads, and what a decision costs."""

from __future__ import annotations

import time

import pytest

from fleet.contract.objects import Strategy, StrategyType
from fleet.contract.wire import Phase, Reason
from fleet.operator.reconcile.actions import (
    stage,
)
from fleet.operator.reconcile.quarantine import quarantined
from tests.operator.model import World, fleet

ROLLING = Strategy(StrategyType.ROLLING, 1)


def rolled(world: World, deployment: str) -> dict[str, int]:
    return {name: world.runs(name)[deployment] for name in sorted(world.indexes) if deployment in world.runs(name)}


def test_rolling_waits_for_each_device() -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.deploy("web", "app:1")
    world.settle()
    world.report_all(world.devices, "web")
    world.deploy("web", "app:2", strategy=ROLLING)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 2, "pi-2": 1, "pi-3": 1}
    assert world.deployments["web"].status.updated == 1
    world.report("pi-1", "web")
    world.settle()
    assert rolled(world, "web") == {"pi-1": 2, "pi-2": 2, "pi-3": 1}
    world.report("pi-2", "web")
    world.settle()
    world.report("pi-3", "web")
    world.settle()
    assert world.condition("web", "Ready") == ("True", "AllReady")


def test_rolling_halts_at_failures_until_a_fix_comes() -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.deploy("web", "app:1")
    world.settle()
    world.report_all(world.devices, "web")
    world.deploy("web", "app:bad", strategy=ROLLING)
    world.settle()
    world.report("pi-1", "web", Phase.FAILED)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 2, "pi-2": 1, "pi-3": 1}
    assert world.condition("web", "Progressing") == ("False", "Halted")
    world.deploy("web", "app:3", strategy=ROLLING)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 3, "pi-2": 1, "pi-3": 1}, "the device that is down is mended first"


def test_rolling_is_held_up_by_a_device_that_falls_silent_on_its_way_but_by_no_other() -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.deploy("web", "app:1")
    world.settle()
    world.report_all(world.devices, "web")
    world.now += 60
    world.beat("pi-2", "pi-3")
    world.deploy("web", "app:2", strategy=ROLLING)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 1, "pi-2": 2, "pi-3": 1}, "pi-1 was offline before"
    world.now += 60
    world.beat("pi-1", "pi-3")
    world.settle()
    assert rolled(world, "web") == {"pi-1": 1, "pi-2": 2, "pi-3": 1}, "pi-2 fell silent on its way"


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.PENDING])
def test_a_device_in_quarantine_stops_no_rollout_and_is_named(phase: Phase) -> None:
    world = fleet("pi-1", "pi-2", "pi-3")
    world.deploy("web", "app:1")
    world.settle()
    world.report_all(world.devices, "web")
    world.deploy("web", "app:2", strategy=ROLLING)
    world.settle()
    world.report("pi-1", "web", phase, Reason.PULLING if phase is Phase.PENDING else None)
    world.settle()
    assert rolled(world, "web") == {"pi-1": 2, "pi-2": 1, "pi-3": 1}
    subject = world.devices["pi-1"].spec.subject
    world.identities[subject] = quarantined(world.identities[subject], world.devices["pi-1"], "it floods", world.now)
    for name in ("pi-2", "pi-3"):
        world.settle()
        assert world.runs(name) == {"web": 2}
        assert world.condition("web", "Progressing") == ("True", "RollingOut")
        world.report(name, "web")
    world.settle()
    assert world.condition("web", "Ready") == ("False", "InProgress")
    assert "2 of 3 devices run generation 2; pi-1: Quarantined" in world.message("web", "Ready")


def test_rolling_goes_on_where_a_lost_entry_was() -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web", strategy=ROLLING)
    world.settle()
    assert world.runs("pi-1") == {"web": 1}
    world.desired["pi-1"].clear()
    world.settle()
    assert sum("web" in world.runs(name) for name in ("pi-1", "pi-2")) == 1


@pytest.mark.parametrize("devices", [1000])
def test_a_decision_over_a_fleet_is_quick_when_nothing_is_to_be_done(devices: int) -> None:
    names = [f"pi-{number}" for number in range(devices)]
    world = fleet(*names)
    for number in range(5):
        world.deploy(f"web-{number}")
    world.settle()
    for number in range(5):
        world.report_all(names, f"web-{number}")
    world.settle()
    started = time.process_time()
    assert world.plan() == ()
    assert time.process_time() - started < 0.5, "about 0.05 s, with room for a busy machine"


def test_actions_come_in_the_order_of_their_stages() -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web")
    world.settle()
    world.delete_device("pi-1")
    world.edit_device("pi-2", revoked=True)
    world.deploy("db")
    for _ in range(3):
        stages = [stage(action) for action in world.plan()]
        assert stages == sorted(stages)
        world.step()
