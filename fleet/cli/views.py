"""Prints objects for `list` and `show`, and their changes: the formats of kubectl's `--output`, and its `--watch`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
import typer

from fleet.cli.context import as_json, installed, read_all
from fleet.cli.invalid import typed
from fleet.cli.output import Output, answer, document, table
from fleet.cli.standing import as_seen
from fleet.contract.objects import GROUP, Device, FleetDeployment
from fleet.contract.printable import one_line

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

K = TypeVar("K", Device, FleetDeployment)


class View(Enum):
    """The form in which objects are shown."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


ViewOption = Annotated[
    View, typer.Option("--output", "-o", help="table or wide for people; json, yaml or name for programs")
]
WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="and each change from now on, until Ctrl-C")]


class Columns(msgspec.Struct, Generic[K], frozen=True):
    """The columns of a table, and the text for an empty one."""

    headings: Sequence[str]
    cells: Callable[[K], list[object]]
    more_headings: Sequence[str]
    more_cells: Callable[[K], list[object]]
    none: str

    def heading(self, view: View) -> list[str]:
        """The headings."""
        return [*self.headings, *(self.more_headings if view is View.WIDE else ())]

    def row(self, item: K, view: View) -> list[object]:
        """An object's cells."""
        return [*self.cells(item), *(self.more_cells(item) if view is View.WIDE else ())]


def name_of(item: Device | FleetDeployment) -> str:
    """An object's name as kubectl prints and takes it: `device.fleet.nationtech.io/pi-1`."""
    return f"{item.kind.lower()}.{GROUP}/{item.metadata.name}"


def object_details(item: Device | FleetDeployment) -> list[tuple[str, object]]:
    """The metadata of an object, for `show --output wide`."""
    meta = item.metadata
    return [
        ("namespace", meta.namespace),
        ("created", meta.creation_timestamp),
        ("generation", meta.generation),
        ("uid", meta.uid),
    ]


def print_one(view: View, value: Json, name: str, text: Sequence[str]) -> None:
    """Print one object: `value` for a program, `text` for a person, or its name."""
    if view is View.YAML:
        _yaml(value)
    else:
        answer(Output.JSON if view is View.JSON else Output.TABLE, value, name if view is View.NAME else text)


def print_list(
    view: View,
    kube: KubeClient,
    namespace: str,
    kind: type[K],
    columns: Columns[K],
    wanted: Callable[[K], bool],
    *,
    watch: bool,
) -> None:
    """Print the objects that are wanted; with `watch` each that changes, too, until Ctrl-C.

    A row is printed again when it differs.
    """
    if not watch:
        _print_all(view, [item for item in read_all(kube, kind, namespace) if wanted(item)], columns)
        return
    installed(kube, namespace)
    from fleet.kube.following import Following  # noqa: PLC0415 - only who watches pays for it

    printed = _Printed(view, columns)
    try:
        for changes in Following(kube, kind.__name__, namespace).changes():
            printed.take([(as_seen(typed(change.object, kind)), change.deleted) for change in changes], wanted)
    except KeyboardInterrupt:
        return


def _print_all(view: View, items: Sequence[K], columns: Columns[K]) -> None:
    """Print objects."""
    match view:
        case View.JSON:
            answer(Output.JSON, [as_json(item) for item in items], "")
        case View.YAML:
            _yaml([as_json(item) for item in items])
        case View.NAME:
            answer(Output.TABLE, [], [name_of(item) for item in items])
        case View.TABLE | View.WIDE:
            rows = [columns.row(item, view) for item in items]
            answer(Output.TABLE, [], table(columns.heading(view), rows) if rows else columns.none)


class _Printed(Generic[K]):
    """What a watch has printed of each object."""

    def __init__(self, view: View, columns: Columns[K]) -> None:
        self._view = view
        self._columns = columns
        self._rows: dict[str, list[str]] = {}
        self._widths: list[int] = []

    def take(self, changes: Iterable[tuple[K, bool]], wanted: Callable[[K], bool]) -> None:
        """Print changes; an object that is no longer selected counts as deleted."""
        news: list[tuple[K, str]] = []
        for item, deleted in changes:
            name = item.metadata.name
            known = self._rows.get(name)
            if deleted or not wanted(item):
                if known is not None:
                    del self._rows[name]
                    news.append((item, "DELETED"))
                continue
            row = [one_line(str(cell)) for cell in self._columns.row(item, self._view)]
            self._rows[name] = row
            if row != known or self._view in {View.JSON, View.YAML}:
                news.append((item, "ADDED" if known is None else "MODIFIED"))
        self._print(news)

    def _print(self, news: Sequence[tuple[K, str]]) -> None:
        match self._view:
            case View.JSON:
                lines = [json.dumps({"type": kind, "object": as_json(item)}) for item, kind in news]
                answer(Output.TABLE, [], lines)
            case View.YAML:
                for item, kind in news:
                    _yaml({"type": kind, "object": as_json(item)}, begin="---\n")
            case View.NAME:
                answer(Output.TABLE, [], [name_of(item) + _gone(kind) for item, kind in news])
            case View.TABLE | View.WIDE:
                self._print_rows(news)

    def _print_rows(self, news: Sequence[tuple[K, str]]) -> None:
        rows = [self._columns.row(item, self._view) for item, _ in news]
        ends = [_gone(kind) for _, kind in news]
        if not self._widths:
            heading = self._columns.heading(self._view)
            self._widths = [max(len(one_line(str(row[at]))) for row in [heading, *rows]) for at in range(len(heading))]
            rows, ends = [heading, *rows], ["", *ends]
        for row, end in zip(rows, ends, strict=True):
            cells = [one_line(str(cell)).ljust(width) for cell, width in zip(row, self._widths, strict=True)]
            answer(Output.TABLE, [], "  ".join(cells).rstrip() + end)


def _gone(kind: str) -> str:
    return "  deleted" if kind == "DELETED" else ""


def _yaml(value: Json | list[Json], begin: str = "") -> None:
    import yaml  # noqa: PLC0415 - takes 30 ms

    document(begin + yaml.safe_dump(value, sort_keys=False))
