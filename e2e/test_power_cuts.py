"""A device comes through cuts of its power, at every phase of what it does. Its disk loses what was not flushed."""

from __future__ import annotations

import logging
from pathlib import Path

import allure
import pytest

from harness.scenario.scenario import Scenario
from harness.scenario.setup import prepared
from harness.world.world import World
from scenarios.power_cuts import draw, survive
from scenarios.workloads import web

pytestmark = [pytest.mark.libvirt, pytest.mark.embedded]
_log = logging.getLogger("fleet.cuts")
_SWEEP = Scenario(id="power-cuts", title="Cuts of a device's power", chapter="Rules", why="", devices=1, agents=4)


def test_a_device_comes_through_cuts_of_its_power(world: World, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    numbers = pytestconfig.getoption("fleet_cuts")
    assert isinstance(numbers, range)
    seed = int(str(pytestconfig.getoption("fleet_seed")))
    rows: list[str] = []
    failed: list[str] = []
    given_up: set[str] = set()
    with prepared(_SWEEP, world, tmp_path) as run:
        first = run.type(web())
        assert first.code == 0, str(first)
        for number in numbers:
            cut = draw(seed, number)
            _log.info("%s", cut)
            with allure.step(str(cut)):
                try:
                    rows.append(str(survive(run, cut, given_up)))
                except AssertionError as error:
                    failed.append(f"{cut} (--fleet-seed {seed} --fleet-cuts {number}): {world.judge(error)}")
                    _log.warning("%s", failed[-1])
                else:
                    _log.info("%s", rows[-1])
    allure.attach("\n".join(rows), "cuts", allure.attachment_type.TEXT)
    assert not failed, "\n".join(failed)
