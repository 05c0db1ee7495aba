"""`python -m tests.upgrade.matrix.page RESULTS`: write `docs/upgrade-matrix.md` from the last run's JUnit file."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import msgspec

PAGE = Path(__file__).parents[3] / "docs" / "upgrade-matrix.md"
HERE = Path(__file__).parent
_ROWS = re.compile(r"^def (test_row_[a-z0-9_]+)\(", re.MULTILINE)
_NUMBERS = re.compile(r"\d\d(?!\d)")
LAST = 48


class Row(msgspec.Struct, frozen=True):
    """A fault, and what must come of it."""

    number: int
    fault: str
    expected: str


def _rows() -> tuple[Row, ...]:
    lines = (HERE / "rows.txt").read_text().splitlines()
    components = [line.split("|") for line in lines if line and not line.startswith("#")]
    return tuple(Row(int(number), fault.strip(), expected.strip()) for number, fault, expected in components)


ROWS = _rows()
_SWEEP = "unsynced writes at a machine's power cut: [the sweep](power-cuts.md)"
REMAINDER: Mapping[int, str] = {
    5: _SWEEP,
    6: _SWEEP,
    8: f"{_SWEEP}, which has not hit just this moment",
    9: _SWEEP,
    33: "conmon with both cgroup managers: on a virtual machine, `e2e/test_machine_faults.py`",
    34: "a clock that is wrong from the machine's start: on a virtual machine, `e2e/test_machine_faults.py`",
    46: "a package manager at work needs a machine",
}
"""What a test here cannot show of a row, and what shows it."""


def row_tests() -> dict[int, list[str]]:
    """The tests of each row, by its number."""
    found: dict[int, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for name in _ROWS.findall(path.read_text()):
            for number in _NUMBERS.findall(name.removeprefix("test_row_")[:12]):
                found.setdefault(int(number), []).append(name)
    return found


def render(results: Mapping[str, str]) -> str:
    """The page; `results` is `passed`, `failed` or `skipped` by test."""
    lines = [
        "# The upgrade's failure matrix",
        "",
        "<!-- Written by `python -m tests.upgrade.matrix.page`; a test holds its rows current. Do not edit. -->",
        "",
        "Each fault is really done to a process device, with real artefacts, a real NATS server and a real API server,",
        "and judged from outside by the global oracles (`tests/upgrade/matrix/lab.py`). The result is that of the last",
        "run from which this page was written.",
        "",
        "| # | fault | expected | test | last run |",
        "|---|---|---|---|---|",
    ]
    known = row_tests()
    for row in ROWS:
        names = known.get(row.number, [])
        shown = ", ".join(f"`{name}`" for name in names) or "none"
        lines.append(
            f"| {row.number} | {row.fault} | {row.expected} | {shown} | {_outcome(row.number, names, results)} |"
        )
    return "\n".join(lines) + "\n"


def _outcome(number: int, names: list[str], results: Mapping[str, str]) -> str:
    seen = {results.get(name, "not run") for name in names}
    worst = next(one for one in ("failed", "not run", "skipped", "passed") if one in seen)
    return f"{worst}; {REMAINDER[number]}" if number in REMAINDER else worst


def read(path: Path) -> dict[str, str]:
    """The outcome of each test in a JUnit file; a parametrized one counts as its worst."""
    found: dict[str, str] = {}
    for case in ET.parse(path).getroot().iter("testcase"):
        name = case.get("name", "").partition("[")[0]
        bad = case.find("failure") is not None or case.find("error") is not None
        outcome = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
        found[name] = outcome if found.get(name) != "failed" else "failed"
    return found


def main(argv: list[str]) -> int:
    """Write the page."""
    results: dict[str, str] = {}
    for path in argv:
        results |= read(Path(path))
    PAGE.write_text(render(results))
    print(f"wrote {PAGE}", file=sys.stderr)  # noqa: T201 - the command's answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
