"""What a planted fault is, and what must come of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import Misused

Verdict = Literal["product", "world"]

REPOSITORY = Path(__file__).resolve().parents[2]
PATCHES = REPOSITORY / "tests" / "faults" / "product"

_HEADER = re.compile(r"^(Fault|Component|Test): (.+)$")


@dataclass(frozen=True)
class Fault:
    """Something wrong, planted on purpose.

    Attributes:
        name: What `python -m harness.faults NAME` calls it.
        sentence: What is wrong, for a person.
        test: The node id of the end-to-end test that must see it.
        verdict: Whose fault the test must say it is.
        points_at: What the report must point at: a component of the product, or the words that name the world's cause
            (a regular expression).
        patch: The patch that plants it; None for a fault of the world, which a function plants.
    """

    name: str
    sentence: str
    test: str
    verdict: Verdict
    points_at: str
    patch: Path | None = None


def product_faults() -> list[Fault]:
    """Every patch in `tests/faults/product`, by name; as `read_patch` for errors."""
    return [read_patch(path) for path in sorted(PATCHES.glob("*.patch"))]


def read_patch(path: Path) -> Fault:
    """The fault that a patch plants.

    Raises:
        Misused: it lacks one of its three header lines.
    """
    header: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if line.startswith(("--- ", "diff ")):
            break
        if match := _HEADER.match(line):
            header[match.group(1)] = match.group(2)
    if set(header) != {"Fault", "Component", "Test"}:
        raise Misused(
            f"{path} names only {sorted(header)}", next_step="begin it with Fault:, Component: and Test: lines"
        )
    return Fault(path.stem, header["Fault"], header["Test"], "product", header["Component"], path)
