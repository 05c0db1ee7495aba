"""A stolen device attacks with everything it can think of: its neighbours, the operator and the cluster go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.devices.hostile.assault import names
from harness.scenario.scenario import Scenario
from harness.scenario.setup import prepared
from harness.siege.findings import Bounds, broken
from harness.siege.play import besiege
from harness.world.world import World

NEIGHBOURS = 3
"""`benchmarks.hostile` has ten; a test on two cores that has three says as much about the product."""
_TOGETHER = 15.0
_ALONE = 9.0
"""Seconds of an attack before its device is revoked."""


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What the hostile device draws its choices from."""
    return int(str(pytestconfig.getoption("fleet_seed")))


@pytest.mark.embedded
def test_a_hostile_device_harms_only_itself(world: World, tmp_path: Path, seed: int) -> None:
    _besieged(world, tmp_path, seed, _TOGETHER, ())


@pytest.mark.siege
@pytest.mark.embedded
@pytest.mark.parametrize("attack", names())
def test_an_attack_alone_harms_only_itself(world: World, tmp_path: Path, seed: int, attack: str) -> None:
    _besieged(world, tmp_path, seed, _ALONE, (attack,))


def _besieged(world: World, folder: Path, seed: int, seconds: float, only: Sequence[str]) -> None:
    scenario = Scenario(id="siege", title="A siege", chapter="Rules", why="", devices=NEIGHBOURS + 1)
    with prepared(scenario, world, folder) as run:
        siege = besiege(run, NEIGHBOURS, seed=seed, seconds=seconds, only=only, reads=bool(only))
    print(siege)  # noqa: T201 - pytest shows it with a failure
    assert broken(siege.seen, Bounds()) == []
