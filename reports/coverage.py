"""Which steps of the runbook a run has proven, and how long each took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from harness.scenario.scenario import Scenario
from harness.scenario.step_log import StepRecord

Standing = Literal["proven", "failed", "not run"]


class StepCoverage(msgspec.Struct, frozen=True, rename="camel"):
    """What a run says of one step.

    Attributes:
        scenario: The scenario's id.
        step: The step's title.
        standing: Proven when it passed each time it was played; failed when it once did not.
        runs: How often it was played.
        seconds: How long it took on average.
        at: Unix time of the last time, in seconds; 0 if never.
        targets: The kinds of world it was played in.
        why: Whose failure it was, and what was seen; empty when proven.
    """

    scenario: str
    step: str
    standing: Standing
    runs: int = 0
    seconds: float = 0
    at: float = 0
    targets: tuple[str, ...] = ()
    why: str = ""


class Coverage(msgspec.Struct, frozen=True, rename="camel"):
    """A run's standing against the whole runbook, in its order."""

    proven: int
    total: int
    seconds: float
    steps: tuple[StepCoverage, ...]


def measure(book: Sequence[Scenario], records: Iterable[StepRecord]) -> Coverage:
    """Set what was played against what the runbook holds."""
    played: defaultdict[tuple[str, str], list[StepRecord]] = defaultdict(list)
    for record in records:
        played[record.scenario, record.step].append(record)
    steps = tuple(
        _step(scenario.id, step.title, played[scenario.id, step.title]) for scenario in book for step in scenario.steps
    )
    return Coverage(
        proven=sum(step.standing == "proven" for step in steps),
        total=len(steps),
        seconds=sum(record.seconds for runs in played.values() for record in runs),
        steps=steps,
    )


def _step(scenario: str, title: str, runs: Sequence[StepRecord]) -> StepCoverage:
    if not runs:
        return StepCoverage(scenario, title, "not run")
    wrong = next((run for run in runs if run.outcome != "passed"), None)
    return StepCoverage(
        scenario,
        title,
        "failed" if wrong else "proven",
        runs=len(runs),
        seconds=sum(run.seconds for run in runs) / len(runs),
        at=max(run.started for run in runs),
        targets=tuple(sorted({run.target for run in runs})),
        why=f"{wrong.outcome}: {_gist(wrong.message)}" if wrong else "",
    )


def _gist(message: str) -> str:
    """What was seen, or else the first line."""
    lines = [line.strip() for line in message.splitlines()] or [""]
    return next((line.removeprefix("seen: ") for line in lines if line.startswith("seen: ")), lines[0])


def table(book: Sequence[Scenario], coverage: Coverage) -> list[str]:
    """The coverage for a terminal: a line per scenario that was played and per step of it, then the sum."""
    by_scenario: defaultdict[str, list[StepCoverage]] = defaultdict(list)
    for step in coverage.steps:
        by_scenario[step.scenario].append(step)
    lines: list[str] = []
    for scenario in book:
        steps = by_scenario[scenario.id]
        if any(step.runs for step in steps):
            proven = sum(step.standing == "proven" for step in steps)
            lines.append(f"{_seconds(sum(step.seconds for step in steps))}  {scenario.title} ({proven}/{len(steps)})")
            lines += [f"{_seconds(step.seconds)}    {_mark(step)} {step.step}{_why(step)}" for step in steps]
    played = ", ".join(sorted({target for step in coverage.steps for target in step.targets})) or "nowhere"
    missed = [scenario.id for scenario in book if not any(step.runs for step in by_scenario[scenario.id])]
    lines.append(f"proven: {coverage.proven} of {coverage.total} steps of the runbook, on {played}")
    if missed:
        lines.append(f"not played: {', '.join(missed)}")
    return lines


def _mark(step: StepCoverage) -> str:
    return {"proven": "ok     ", "failed": "FAILED ", "not run": "not run"}[step.standing]


def _why(step: StepCoverage) -> str:
    return f" - {step.why}" if step.why else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:7.2f} s" if seconds else " " * 9
