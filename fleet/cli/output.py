"""What the commands print: a table for people, JSON for programs, on standard output; progress on standard error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import typer

from fleet.contract.printable import one_line
from fleet.process import console

Json = dict[str, Any]


class Output(Enum):
    """The form of an answer."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table for people, json for programs")]


def answer(output: Output, value: Json | list[Json], text: str | Sequence[str]) -> None:
    """Print `value` as JSON, or for a person `text`: one line, or several."""
    # json.dumps escapes quotes, controls and all that is not ASCII, so that every line of it is its own.
    lines = json.dumps(value, indent=2).split("\n") if output is Output.JSON else _lines(text)
    console.answer(*lines)


def document(text: str) -> None:
    """Print a document for another program, such as YAML, that has escaped what it holds."""
    console.answer(*text.rstrip("\n").split("\n"))


def progress(*lines: str) -> None:
    """Say what happens now."""
    console.tell(*lines)


def _lines(text: str | Sequence[str]) -> Sequence[str]:
    return (text,) if isinstance(text, str) else text


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Columns as wide as their longest cell."""
    cells = [list(headings), *([one_line(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def details(pairs: Sequence[tuple[str, object]]) -> list[str]:
    """One `name: value` a line, aligned."""
    width = max(len(name) for name, _ in pairs) + 1
    return [f"{name + ':':<{width}} {value}" for name, value in pairs]
