"""One table per benchmark: printed, and written as JSON with the machine it was measured on."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

import msgspec

OUT = Path("out/benchmarks")
README = Path("benchmarks/README.md")
_INTRODUCTION = """\
# Benchmarks

Written by `python -m benchmarks` (`make bench`), which measures everything below and prints it; with names it measures
those only, and leaves this page alone. Every figure is as measured, once, on the machine named under it. `{out}` holds
the same as JSON.

Real servers, real parts of the product, and the load client share the cores of that one machine, so throughput is that
of all of them together. `callout` and `storm` run the product's own nats-server configuration, TLS included; `agent`,
`revoke`, `rollout` and `runbook` run in an embedded world, with a fleet server installed by `fleet server install`.
"""


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


def publish(table: Table, machine: Machine, started: float) -> str:
    """Print the table, and write its JSON; returns what was printed."""
    OUT.mkdir(parents=True, exist_ok=True)
    report = Report(table, machine, time.time(), round(time.monotonic() - started, 1))
    (OUT / f"{table.name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    shown = f"{render(table)}\n\nOn {machine}.\n"
    print(shown, flush=True)
    return shown


def write_readme(shown: list[str]) -> None:
    """The page of all figures of one run."""
    README.write_text("\n".join([_INTRODUCTION.format(out=OUT), *shown]))


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
