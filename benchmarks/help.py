"""How long `fleet --help` takes: an admin's first impression."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Table

_RUNS = 15


def run() -> Table:
    """Wall time of whole processes, after one that warms the file cache."""
    rows = tuple(
        _row(title, [str(Path(sys.executable).with_name(argv[0])), *argv[1:]])
        for title, argv in (
            ("fleet --help", ["fleet", "--help"]),
            ("fleet --version", ["fleet", "--version"]),
            ("fleet-agent --version", ["fleet-agent", "--version"]),
            ("python -c pass", [Path(sys.executable).name, "-c", "pass"]),
        )
    )
    return Table(
        "help", ("command", "median ms", "fastest ms", "slowest ms"), rows, (f"{_RUNS} runs each, one after another.",)
    )


def _row(title: str, argv: list[str]) -> tuple[str, ...]:
    _once(argv)
    taken = [_once(argv) for _ in range(_RUNS)]
    return (title, *(f"{value * 1000:.0f}" for value in (statistics.median(taken), min(taken), max(taken))))


def _once(argv: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started
