"""One rollout and several upgrades of agents over machines of all kinds: a board, a virtual machine, and processes.

`./scripts/e2e-mixed.sh` plays them with an emulated board that has an ARM processor.
"""

from __future__ import annotations

import pytest

from harness.pytest_plugin.fixtures.scenario import Play
from harness.scenario.scenario import Scenario
from harness.world.world import World
from scenarios.update import roll_out
from scenarios.upgrade_orders import upgrade_queued

pytestmark = [pytest.mark.libvirt, pytest.mark.pi, pytest.mark.embedded]


@pytest.mark.parametrize("scenario", [roll_out, upgrade_queued], ids=lambda scenario: scenario.id)
def test_it_passes_on_a_mixed_fleet(play: Play, world: World, scenario: Scenario) -> None:
    before = set(world.devices())
    play(scenario)
    kinds = [device.kind for name, device in world.devices().items() if name not in before]
    assert sorted(kinds) == ["libvirt", "pi", "process"], f"it was played on: {', '.join(kinds)}"
