"""What the Allure results of a run say: whose failure it was, and where its report points."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.faults.fault import Fault


class _Details(msgspec.Struct):
    message: str = ""


class _Result(msgspec.Struct):
    status: str = "unknown"
    statusDetails: _Details | None = None  # noqa: N815 - Allure's name


@dataclass(frozen=True)
class Seen:
    """What became of a run. `verdict` is `passed`, `product`, `world`, or in words what else happened."""

    verdict: str
    message: str = ""


_VERDICTS = {"failed": "product", "broken": "world", "passed": "passed"}


def read(folder: Path) -> Seen:
    """The first result that did not pass; `passed` when all did; `no result` when there is none."""
    results = [msgspec.json.decode(path.read_bytes(), type=_Result) for path in sorted(folder.glob("*-result.json"))]
    if not results:
        return Seen("no result")
    bad = [result for result in results if result.status != "passed"]
    if not bad:
        return Seen("passed")
    details = bad[0].statusDetails or _Details()
    return Seen(_VERDICTS.get(bad[0].status, bad[0].status), details.message)


def pointed_at(fault: Fault, seen: Seen) -> str:
    """The words of the report that name the component, or the world's cause; empty when it names neither."""
    pattern = (
        fault.points_at if fault.verdict == "world" else _PARTS.get(fault.points_at, rf"log of {fault.points_at}\b")
    )
    match = re.search(pattern, seen.message)
    return match.group() if match else ""


_PARTS = {"cli": r"\$ fleet [a-z]+( [a-z]+)?"}
"""The command line leaves no log: the report shows the command itself."""
