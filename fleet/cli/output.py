"""What the commands print: a table for people, JSON for programs, on standard output; progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import typer

Json = dict[str, Any]


class Output(Enum):
    """The form of an answer."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table for people, json for programs")]


def answer(output: Output, value: Json | list[Json], text: str) -> None:
    """Print `value` as JSON, or `text` for a person."""
    print(json.dumps(value, indent=2) if output is Output.JSON else text)  # noqa: T201 - this is the answer


def progress(what: str) -> None:
    """Say what happens now."""
    print(what, file=sys.stderr, flush=True)  # noqa: T201


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their longest cell."""
    cells = [list(headings), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def details(pairs: Sequence[tuple[str, object]]) -> str:
    """One `name: value` a line, aligned."""
    width = max(len(name) for name, _ in pairs) + 1
    return "\n".join(f"{name + ':':<{width}} {value}" for name, value in pairs)
