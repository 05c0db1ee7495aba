"""The whole embedded runbook with its report, as `scripts/e2e-prod-shape.sh` plays it, and where its time goes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import defaultdict

from benchmarks.report import OUT, Table
from harness.scenario.step_log import StepRecord, read_records

_STEPS_SHOWN = 12
_WORKERS = 3


def run() -> Table:
    """Play it once, warm, by as many workers as the script has; step records tell the parts of their time."""
    report = OUT / "runbook"
    shutil.rmtree(report, ignore_errors=True)
    argv = [sys.executable, "-m", "pytest", "e2e/test_runbook.py", "-W", "error", "-p", "no:randomly"]
    argv += ["-n", str(_WORKERS), "--fleet-report", str(report)]
    started = time.monotonic()
    subprocess.run(argv, check=True, stdout=sys.stderr)
    wall = time.monotonic() - started
    steps = read_records(report / "steps")
    told = f"{len(steps)} steps. The share is of the time of all {_WORKERS} workers together."
    return Table("runbook", ("what", "seconds", "share"), tuple(_rows(steps, wall)), (told,))


def _rows(steps: list[StepRecord], wall: float) -> list[tuple[str, ...]]:
    scenarios: dict[str, float] = defaultdict(float)
    for step in steps:
        scenarios[step.scenario] += step.seconds
    slowest = sorted(steps, key=lambda step: step.seconds, reverse=True)[:_STEPS_SHOWN]
    spent = _WORKERS * wall
    outside = spent - sum(scenarios.values())
    components = [("everything, by the clock", wall), ("outside of steps (worlds, fresh devices, the report)", outside)]
    components += [(f"scenario {name}", seconds) for name, seconds in scenarios.items()]
    components += [(f"step {step.scenario} {step.number}: {step.step}", step.seconds) for step in slowest]
    return [(what, f"{seconds:.1f}", f"{seconds / spent:.0%}") for what, seconds in components]
