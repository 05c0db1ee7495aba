"""Every state of the upgrade that these faults lead to, with the two machines that ship; the largest slice nightly.

Oracles, in every state: (a) an agent runs or is about to, and a launcher becomes nothing that does not verify; (b) one
writer, that the operator confirmed before it commits, and no hand-over to a candidate that was not heard; (d) committed
version and rollback target are whole after any power cut; (e) what is reported as the end is durable, and from
everywhere an end with a reason is reached. (f) what is done to the disk leaves, done once more, what it left at first;
and as a crash comes after every effect, all of them are carried out again. (g) an attempt that held the scheduling lock
too long is told to turn back, and is not begun again unless somebody orders it. (c), containers, is the matrix's: no
process here touches one but through its open door.
"""

from __future__ import annotations

import pytest

from tests.upgrade.model.page import PAGE
from tests.upgrade.model.slices import SLICES, Slice


@pytest.mark.parametrize("explored", SLICES, ids=lambda one: one.name)
def test_every_oracle_holds_in_every_state(explored: Slice) -> None:
    found = explored.explore()
    assert not found.violation, f"{explored.name}: {found}"
    row = f"| {explored.name} | {found.states:,} | {found.transitions:,} |"
    assert row in PAGE.read_text(), f"docs/upgrade.md has other numbers than {row}: run `python -m tests.upgrade.model`"
