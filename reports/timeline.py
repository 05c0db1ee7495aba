"""One timeline of a failure: every part's log, what happened to the parts, and the scenario's steps, on one clock."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleet.contract.printable import one_line
from harness.processes.spec import Event
from harness.scenario.step_log import StepRecord
from reports.lines import parse

LONGEST_LOG = 2 * 2**20
"""Bytes read from the end of each log; the failing test is there."""


@dataclass(frozen=True)
class Entry:
    """A line of the timeline; `at` is Unix time in seconds by our clock."""

    at: float
    source: str
    level: str
    text: str


def of_log(source: str, text: str, *, offset: float = 0.0, now: datetime | None = None) -> list[Entry]:
    """The entries of one log, in its order.

    Lines without a time of their own (tracebacks) stay with the line before; a log that has none at all gives nothing.

    Args:
        source: The part's name.
        text: The log.
        offset: Seconds that the writer's clock is ahead of ours.
        now: Our local time, for formats without year or time zone.
    """
    now = now or datetime.now(UTC).astimezone()
    entries: list[Entry] = []
    for line in text.split("\n"):  # no other character ends a line of a log
        found = parse(line, now)
        if found is not None:
            entries.append(Entry(found.at - offset, source, found.level, found.text))
        elif entries and line.strip():
            entries.append(Entry(entries[-1].at, source, "", f"  {line}"))
    return entries


def of_steps(records: Iterable[StepRecord]) -> list[Entry]:
    """A mark at each step's start and end."""
    entries: list[Entry] = []
    for record in records:
        name = f"{record.scenario} {record.number}: {record.step}"
        entries.append(Entry(record.started, "STEP", "", f"begins  {name}"))
        entries.append(Entry(record.started + record.seconds, "STEP", "", f"{record.outcome:<7} {name}"))
    return entries


def of_events(events: Iterable[Event], offset: float) -> list[Entry]:
    """What happened to the components of a local world; `offset` is the wall clock minus the monotonic clock."""
    return [
        Entry(
            event.monotonic + offset, "WORLD", "", f"{event.component} {event.what}".strip() + " (asked)" * event.asked
        )
        for event in events
    ]


def merge(sources: Iterable[Sequence[Entry]], since: float, until: float) -> list[Entry]:
    """All entries between two Unix times, in order of time; what is equal keeps the order of the sources."""
    return sorted((entry for source in sources for entry in source if since <= entry.at <= until), key=lambda it: it.at)


def render(entries: Sequence[Entry]) -> str:
    """The timeline as text: seconds since the first entry, source, level, text."""
    if not entries:
        return "(no part wrote anything in this time)\n"
    zero = entries[0].at
    width = max(len(entry.source) for entry in entries)
    begun = datetime.fromtimestamp(zero, UTC).isoformat(timespec="milliseconds")
    lines = [f"seconds since {begun}"]
    lines += [
        f"{entry.at - zero:9.3f}  {entry.source:<{width}}  {entry.level:<7}  {one_line(entry.text)}".rstrip()
        for entry in entries
    ]
    return "\n".join(lines) + "\n"


def tail(path: Path, longest: int = LONGEST_LOG) -> str:
    """The end of a log of which at most `longest` bytes matter, from the beginning of a line."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if size > longest:
            file.seek(size - longest)
            file.readline()
        return file.read().decode(errors="replace")


def wall_offset() -> float:
    """The wall clock minus the monotonic clock, now."""
    return time.time() - time.monotonic()
