"""`python -m tests.upgrade.model`: explores everything, and writes the numbers and the diagram into docs/upgrade.md."""

from __future__ import annotations

from tests.upgrade.model.page import PAGE, diagram, figures, replaced
from tests.upgrade.model.slices import LARGEST, SLICES


def main() -> int:
    """Returns the number of slices in which an oracle does not hold."""
    explored = [(one, one.explore()) for one in (*SLICES, LARGEST)]
    for one, found in explored:
        print(f"{one.name}: {found}")  # noqa: T201
    page = replaced(PAGE.read_text(), "figures", figures(explored))
    PAGE.write_text(replaced(page, "diagram", diagram()))
    return sum(bool(found.violation) for _, found in explored)


if __name__ == "__main__":
    raise SystemExit(main())
