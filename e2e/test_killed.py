"""Killing any single process in the middle of the runbook delays it without failing it."""

from __future__ import annotations

import contextlib
from collections.abc import Set

import pytest

from fleet.contract.buckets import DEVICE_HEARTBEAT
from harness.devices import Killable
from harness.errors import HarnessError
from harness.pytest_plugin.fixtures.scenario import Play
from harness.scenario.scenario import Scenario, Step
from harness.scenario.setup import is_online
from harness.wait import wait_until
from harness.world.world import World
from scenarios.enroll import enroll
from scenarios.remove import remove
from scenarios.update import update

pytestmark = [pytest.mark.embedded, pytest.mark.k3d]


@pytest.mark.parametrize("scenario", [enroll, update, remove], ids=lambda scenario: scenario.id)
@pytest.mark.parametrize("component", ["nats", "kube-apiserver", "operator", "callout"])
def test_a_server_part_killed_before_every_step(play: Play, world: World, component: str, scenario: Scenario) -> None:
    before = set(world.devices())

    def kill(step: Step) -> None:
        if component != "nats" or step.title not in LOOKS:
            world.kill(component)
            return
        heartbeats = Heartbeats(world, world.devices().keys() - before)
        world.kill(component)
        heartbeats.await_new()

    play(scenario, before_each=kill)


LOOKS = {"See the device"}
"""Steps that only look. Right after NATS was away a status says that a heartbeat is awaited, and that is so."""


class Heartbeats:
    """The latest heartbeats of those of some devices that are online."""

    def __init__(self, world: World, names: Set[str]) -> None:
        self._world = world
        self._names = names
        self._before = {name: self._latest(name) for name in self._online()}

    def await_new(self) -> None:
        """Wait until each of those devices was heard again, and is online for the operator too."""

        def missing() -> set[str]:
            heard = {name for name, before in self._before.items() if self._latest(name) not in {before, None}}
            return self._before.keys() - (heard & self._online())

        wait_until(missing, "every device is heard again", timeout=60, until=lambda names: not names)

    def _online(self) -> set[str]:
        return {item.metadata.name for item in self._world.kube.devices() if is_online(item)} & self._names

    def _latest(self, name: str) -> tuple[str, int] | None:
        with contextlib.suppress(HarnessError):  # NATS is not back yet
            beat = self._world.nats.get(DEVICE_HEARTBEAT, name)
            return (beat.instance_id, beat.sequence) if beat else None
        return None


def test_the_agent_killed_before_every_step(play: Play, world: World) -> None:
    before = set(world.devices())

    def kill(_step: Step) -> None:
        for name, host in world.devices().items():
            if name not in before and isinstance(host, Killable):
                host.kill_agent()

    play(update, before_each=kill)
