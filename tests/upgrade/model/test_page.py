"""The diagram in docs/upgrade.md is the table that ships."""

from __future__ import annotations

from fleet.agent.upgrade.protocol.state import Phase
from fleet.agent.upgrade.protocol.table import ROWS
from tests.upgrade.model.page import PAGE, diagram, replaced


def test_the_diagram_is_current() -> None:
    page = PAGE.read_text()
    assert replaced(page, "diagram", diagram()) == page, "run `python -m tests.upgrade.model`"
    assert diagram() in page


def test_every_phase_is_reached_and_left() -> None:
    assert {row.to for row in ROWS} | {Phase.JOINING} == set(Phase)
    assert {row.at for row in ROWS} == set(Phase) - {Phase.GONE, Phase.DISABLED}
