"""One table per benchmark: printed, and written as JSON with the machine it was measured on."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

import msgspec

OUT = Path("out/benchmarks")


class Machine(msgspec.Struct, frozen=True):
    """Where figures come from. `load` is the machine's load average when the benchmark began: ours should be alone."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    load: float

    def __str__(self) -> str:
        return (
            f"{self.cores} cores of {self.cpu}, {self.memory_gib:g} GiB, Linux {self.kernel}, Python {self.python}; "
            f"load average {self.load:.1f} when it began"
        )


class Table(msgspec.Struct, frozen=True):
    """What one benchmark measured. Units stand in the column titles; `notes` say what was measured and how."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """A table with its circumstances; `at` is Unix time."""

    table: Table
    machine: Machine
    at: float
    seconds: float


def this_machine() -> Machine:
    """This machine, now."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=cpu.group(1) if cpu else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        load=os.getloadavg()[0],
    )


def publish(table: Table, machine: Machine, started: float) -> Path:
    """Print the table, and write its JSON; returns where."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{table.name}.json"
    report = Report(table, machine, time.time(), round(time.monotonic() - started, 1))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    print(f"{render(table)}\n\nOn {machine}.\n", flush=True)
    return path


def render(table: Table) -> str:
    """The table as Markdown, readable as it is."""
    rows = (table.columns, *table.rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([f"## {table.name}", "", *lines, *(f"\n{note}" for note in table.notes)])


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of them lie; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
