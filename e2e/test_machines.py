"""The chapters about a device on a virtual machine: real systemd, real sshd with sudo, podman, a real power cut.

Where a chapter has two devices, the other is a process: a mixed fleet, under the same checks.
"""

from __future__ import annotations

import pytest

from harness.pytest_plugin.fixtures.scenario import Play
from harness.scenario.scenario import Scenario
from harness.world.world import World
from scenarios.deploy import deploy
from scenarios.enroll import enroll
from scenarios.observe import observe
from scenarios.re_enroll import re_enroll
from scenarios.remove import remove
from scenarios.retire import retire
from scenarios.update import update
from scenarios.upgrade import upgrade, upgrade_interrupted
from scenarios.upgrade_orders import upgrade_queued, upgrade_refused, upgrade_withdrawn

CHAPTERS = [
    *(enroll, retire, deploy, update, observe, re_enroll, remove),
    *(upgrade, upgrade_refused, upgrade_interrupted, upgrade_queued, upgrade_withdrawn),
]

pytestmark = [pytest.mark.libvirt, pytest.mark.embedded]


@pytest.mark.parametrize("scenario", CHAPTERS, ids=lambda scenario: scenario.id)
def test_it_passes_on_a_machine(play: Play, world: World, scenario: Scenario) -> None:
    before = set(world.devices())
    play(scenario)
    kinds = [device.kind for name, device in world.devices().items() if name not in before]
    assert kinds.count("libvirt") == 1, f"it was played on: {', '.join(kinds)}"
