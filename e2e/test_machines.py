"""The chapters about one device on a virtual machine: real systemd, real sshd with sudo, podman, a real power cut."""

from __future__ import annotations

import pytest

from harness.fixtures.scenario import Play
from harness.scenario import Scenario
from harness.world import World
from scenarios.deploy import deploy
from scenarios.enroll import enroll
from scenarios.observe import observe
from scenarios.re_enroll import re_enroll
from scenarios.remove import remove
from scenarios.update import update

pytestmark = [pytest.mark.libvirt, pytest.mark.embedded]


@pytest.mark.parametrize(
    "scenario", [enroll, deploy, update, observe, re_enroll, remove], ids=lambda scenario: scenario.id
)
def test_it_passes_on_a_machine(play: Play, world: World, scenario: Scenario) -> None:
    before = set(world.devices())
    play(scenario)
    kinds = {device.kind for name, device in world.devices().items() if name not in before}
    assert kinds == {"libvirt"}, f"it was played on: {', '.join(sorted(kinds))}"
