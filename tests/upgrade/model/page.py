"""The parts of `docs/upgrade.md` that are made of the code: the diagram of both sides, and what was explored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.state import Phase
from fleet.agent.upgrade.protocol.table import ROWS, Row
from tests.upgrade.model.explore import Found
from tests.upgrade.model.slices import Slice

PAGE = Path(__file__).parents[3] / "docs" / "upgrade.md"


def diagram() -> str:
    """The agent's table of transitions as a mermaid state diagram; several ways from one phase to another are one."""
    ways: dict[tuple[Phase, Phase], list[str]] = {}
    for row in ROWS:
        ways.setdefault((row.at, row.to), []).append(_label(row))
    lines = ["```mermaid", "stateDiagram-v2", "  [*] --> standby", "  [*] --> joining"]
    lines += [f"  {_name(at)} --> {_name(to)}: {', '.join(dict.fromkeys(said))}" for (at, to), said in ways.items()]
    return "\n".join([*lines, "  gone --> [*]", "```"])


def _name(phase: Phase) -> str:
    return phase.value.replace(" ", "_")


def _label(row: Row) -> str:
    on = f"{row.on.value} passed" if isinstance(row.on, Deadline) else row.on.__name__ if row.on else ""
    when = " and ".join(condition.__name__.replace("_", " ") for condition in row.when)
    return " if ".join(part for part in (on, when) if part)


def figures(explored: Sequence[tuple[Slice, Found]]) -> str:
    """A row for each slice, and their sum."""
    rows = ["| what may happen, in any order and at any time | states | transitions |", "|---|---|---|"]
    rows += [f"| {one.name} | {found.states:,} | {found.transitions:,} |" for one, found in explored]
    states, transitions = sum(found.states for _, found in explored), sum(found.transitions for _, found in explored)
    return "\n".join([*rows, f"| together | {states:,} | {transitions:,} |"])


def replaced(page: str, part: str, text: str) -> str:
    """The page with another text between the marks of a part."""
    pattern = rf"(<!-- {part} -->\n).*?(\n<!-- /{part} -->)"
    return re.sub(pattern, lambda match: f"{match[1]}{text}{match[2]}", page, flags=re.DOTALL)
