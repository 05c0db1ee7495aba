"""The chapters about a device on a board over SSH: one that somebody described in the file of a lab (docs/lab.md).

`./scripts/e2e-board.sh` plays them on an emulated board with an ARM processor. Where a chapter has two devices and only
one board is free, the other is a process of this machine: a mixed fleet, under the same checks.
"""

from __future__ import annotations

import pytest

from harness.pytest_plugin.fixtures.scenario import Play
from harness.scenario.scenario import Scenario
from harness.world.world import World
from scenarios.deploy import deploy
from scenarios.enroll import enroll
from scenarios.re_enroll import re_enroll
from scenarios.remove import remove
from scenarios.retire import retire
from scenarios.update import update
from scenarios.upgrade import upgrade

CHAPTERS = [enroll, retire, deploy, update, re_enroll, remove, upgrade]

pytestmark = [pytest.mark.pi, pytest.mark.embedded, pytest.mark.staging]


@pytest.mark.parametrize("scenario", CHAPTERS, ids=lambda scenario: scenario.id)
def test_it_passes_on_a_board(play: Play, world: World, scenario: Scenario) -> None:
    before = set(world.devices())
    play(scenario)
    kinds = [device.kind for name, device in world.devices().items() if name not in before]
    assert "pi" in kinds, f"it was played on: {', '.join(kinds)}"
