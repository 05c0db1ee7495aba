"""A cordoned device and a paused deployment: no change is sent, and the status says so."""

from __future__ import annotations

import pytest

from fleet.contract.objects import Condition, Device, FleetDeployment, Strategy, StrategyType
from tests.operator.model import World, fleet

ROLLING = Strategy(StrategyType.ROLLING, 1)


def settle(world: World) -> None:
    """Every device does what it is told, until nothing changes."""
    for _ in range(4):
        world.settle()
        world.report_all(world.devices, "web")
    world.settle()


def condition(item: Device | FleetDeployment, kind: str) -> Condition:
    return next(one for one in item.status.conditions if one.type == kind)


@pytest.mark.parametrize("strategy", [None, ROLLING])
def test_no_change_is_sent_to_a_cordoned_device(strategy: Strategy | None) -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web", strategy=strategy)
    world.deploy("job")
    settle(world)
    world.edit_device("pi-1", cordoned=True)
    world.deploy("web", "app:2", strategy=strategy)
    world.deploy("new")
    world.delete_deployment("job")
    settle(world)
    assert world.runs("pi-1") == {"web": 1, "job": 1}, "what it runs, it goes on running"
    assert world.runs("pi-2") == {"web": 2, "new": 1}
    assert condition(world.devices["pi-1"], "Cordoned").status == "True"
    ready = condition(world.deployments["web"], "Ready")
    assert (ready.status, ready.reason) == ("False", "InProgress")
    assert "pi-1: Cordoned" in ready.message
    assert "job" not in world.deployments, "a deployment that is deleted waits for no cordoned device"
    world.edit_device("pi-1", cordoned=False)
    settle(world)
    assert world.runs("pi-1") == {"web": 2, "new": 1}
    assert not any(one.type == "Cordoned" for one in world.devices["pi-1"].status.conditions)


def test_a_cordoned_device_keeps_what_its_labels_do_not_select_any_more() -> None:
    world = fleet("pi-1")
    world.deploy("web", select={"site": "lab"})
    settle(world)
    world.edit_device("pi-1", cordoned=True, labels={"site": "home"})
    settle(world)
    assert world.runs("pi-1") == {"web": 1}


def test_a_device_is_revoked_though_it_is_cordoned() -> None:
    world = fleet("pi-1")
    world.edit_device("pi-1", cordoned=True)
    world.edit_device("pi-1", revoked=True)
    settle(world)
    assert condition(world.devices["pi-1"], "Revoked").status == "True"


@pytest.mark.parametrize("strategy", [None, ROLLING])
def test_of_a_paused_deployment_no_change_is_sent(strategy: Strategy | None) -> None:
    world = fleet("pi-1", "pi-2")
    world.deploy("web", strategy=strategy)
    settle(world)
    world.deploy("web", "app:2", strategy=strategy, paused=True)
    world.add_device("pi-3", site="lab")
    world.beat("pi-3")
    settle(world)
    assert [world.runs(name) for name in ("pi-1", "pi-2", "pi-3")] == [{"web": 1}, {"web": 1}, {}]
    web = world.deployments["web"]
    assert (condition(web, "Ready").reason, condition(web, "Progressing").reason) == ("Paused", "Paused")
    assert (web.status.matched, web.status.updated, web.status.ready) == (3, 0, 0)
    world.deploy("web", "app:2", strategy=strategy)
    settle(world)
    assert [world.runs(name) for name in ("pi-1", "pi-2", "pi-3")] == [{"web": 3}, {"web": 3}, {"web": 3}]
