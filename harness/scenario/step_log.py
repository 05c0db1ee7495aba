"""One JSON line for each step of a scenario: what a run has proven, and the marks on a failure's timeline.

Our own record beside Allure's, because Allure nests the steps of concurrent work wrongly and keeps nothing of a worker
that crashes. A line is written at the step's end, in one write, so a crash loses the running step only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from harness.errors import of_os_error

Outcome = Literal["passed", "product", "world", "error"]
"""Passed; the product was wrong; the world was broken; or the scenario itself raised something else."""


class StepRecord(msgspec.Struct, frozen=True):
    """One step that was played.

    Attributes:
        scenario: The scenario's id.
        step: The step's title.
        number: Its position in the scenario, from 1.
        commands: The lines as typed, secrets redacted.
        started: Unix time in seconds.
        monotonic: The machine's monotonic clock in seconds at the start.
        seconds: How long it took, by the monotonic clock.
        outcome: What came of it.
        target: The kind of world it was played in.
        engine: What ran the workloads.
        message: Why it failed; empty when it passed.
    """

    scenario: str
    step: str
    number: int
    commands: tuple[str, ...]
    started: float
    monotonic: float
    seconds: float
    outcome: Outcome
    target: str
    engine: str = ""
    message: str = ""


class Recorder:
    """Appends to one file; each process uses a file of its own."""

    def __init__(self, path: Path | None) -> None:
        """Write to `path`; None keeps the records in memory only."""
        self.path = path
        self.records: list[StepRecord] = []

    def add(self, record: StepRecord) -> None:
        """Keep a record, and write its line.

        Raises:
            HarnessError: the file cannot be written (`DiskFull` when there is no space).
        """
        self.records.append(record)
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, msgspec.json.encode(record) + b"\n")
            finally:
                os.close(file)
        except OSError as error:
            raise of_os_error(error, "recording a step", self.path) from error


def read_records(folder: Path) -> list[StepRecord]:
    """Every record in the `*.jsonl` files of a folder, in order of time; a line cut short by a crash is left out."""
    records: list[StepRecord] = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                records.append(msgspec.json.decode(line, type=StepRecord))
            except msgspec.DecodeError:
                continue
    return sorted(records, key=lambda record: record.started)
