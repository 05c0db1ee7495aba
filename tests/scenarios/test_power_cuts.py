"""Cuts of a device's power come from a seed, and a dozen reach every phase of an upgrade."""

from __future__ import annotations

from fleet.contract.upgrade import UpgradePhase
from scenarios.power_cuts import draw


def test_a_cut_is_known_by_its_seed_and_number() -> None:
    assert draw(13, 7) == draw(13, 7)
    assert draw(13, 7).part != draw(14, 7).part
    assert draw(13, 1).part != draw(13, 13).part


def test_a_dozen_cuts_have_every_phase_that_passes_and_the_other_kinds() -> None:
    dozen = [draw(13, number) for number in range(1, 13)]
    passing = {phase for phase in UpgradePhase if not phase.terminal} - {UpgradePhase.REVERTING}
    assert {cut.phase for cut in dozen if cut.phase} == passing
    assert {cut.kind for cut in dozen} == {"upgrade", "workload", "setup"}
