"""Killing any single process in the middle of the runbook delays it without failing it."""

from __future__ import annotations

import pytest

from harness.devices import Killable
from harness.pytest_plugin.fixtures.scenario import Play
from harness.scenario.scenario import Scenario, Step
from harness.world.world import World
from scenarios.enroll import enroll
from scenarios.remove import remove
from scenarios.update import update

pytestmark = [pytest.mark.embedded, pytest.mark.k3d]


@pytest.mark.parametrize("scenario", [enroll, update, remove], ids=lambda scenario: scenario.id)
@pytest.mark.parametrize("component", ["nats", "kube-apiserver", "operator", "callout"])
def test_a_server_part_killed_before_every_step(play: Play, world: World, component: str, scenario: Scenario) -> None:
    def kill(_step: Step) -> None:
        world.kill(component)

    play(scenario, before_each=kill)


def test_the_agent_killed_before_every_step(play: Play, world: World) -> None:
    before = set(world.devices())

    def kill(_step: Step) -> None:
        for name, host in world.devices().items():
            if name not in before and isinstance(host, Killable):
                host.kill_agent()

    play(update, before_each=kill)
