"""Play one test with one fault planted, in a process of its own, and look at what is left afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.faults import scratch, verdict
from harness.faults.fault import REPOSITORY, Fault
from harness.wait import WaitTimeout, wait_until

_PR_SET_CHILD_SUBREAPER = 36
_DEADLINE = 180.0
"""Seconds that one test may take with a fault planted, on a machine with no more work than processors."""
_ENDED = 10.0
"""Seconds after the test's end by which its last process must be gone."""


@dataclass(frozen=True)
class Outcome:
    """What came of a planted fault. `problem` is empty when everything was as it must be."""

    fault: Fault
    verdict: str
    points_at: str
    seconds: float
    problem: str


def play(fault: Fault) -> Outcome:
    """Plant a fault, play its test, and compare what came with what must come.

    Raises:
        HarnessError: a patch does not apply.
    """
    with tempfile.TemporaryDirectory(prefix="fleet-fault-") as name:
        folder = Path(name)
        if fault.patch is None:
            return _play(fault, REPOSITORY, folder, ("-p", "harness.faults.plugin", "--fleet-fault", fault.name))
        tree = folder / "tree"
        scratch.copy(tree, fault.patch)
        outcome = _play(fault, tree, folder, ())
        unused = scratch.not_loaded(fault.patch, tree)
        if unused and not outcome.problem:
            return replace(outcome, problem=f"never imported from the scratch copy: {', '.join(unused)}")
        return outcome


def longest(load: float, processors: int) -> float:
    """Seconds that one test may take on a machine with this load: a busy one takes as many times longer.

    A test that sees a fault may see it only after everything before it was slow: that is no fault that was missed.
    """
    return _DEADLINE * max(1.0, load / processors)


def adopt_orphans() -> None:
    """Become the parent of whatever our children leave behind, so that it can be seen (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _play(fault: Fault, tree: Path, folder: Path, options: Sequence[str]) -> Outcome:
    started = time.monotonic()
    limit = longest(os.getloadavg()[0], os.cpu_count() or 1)
    code = _run_pytest(fault, tree, folder, options, limit)
    left = _left_behind()
    seen = verdict.read(folder / "results")
    pointed = verdict.pointed_at(fault, seen)
    problem = f"had not ended after {limit:.0f} s" if code is None else _problem(fault, seen, pointed, left)
    if problem:
        kept = REPOSITORY / "out" / "faults" / f"{fault.name}.log"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "pytest.log", kept)
        problem += f"\n  what pytest said: {kept}"
    return Outcome(fault, seen.verdict, pointed, time.monotonic() - started, problem)


def _problem(fault: Fault, seen: verdict.Seen, pointed: str, left: Sequence[str]) -> str:
    if seen.verdict != fault.verdict:
        return f"the verdict was {seen.verdict}, and should be {fault.verdict}: {seen.message.strip()}"
    if "the preparation failed" in seen.message:
        return f"its test did not get as far as the rule: {seen.message.strip()}"
    if not pointed:
        return f"the report does not point at {fault.points_at!r}: {seen.message.strip()}"
    if left:
        return "left running: " + "; ".join(left)
    return ""


def _run_pytest(fault: Fault, tree: Path, folder: Path, options: Sequence[str], limit: float) -> int | None:
    argv = [sys.executable, "-m", "pytest", fault.test, *options, f"--alluredir={folder / 'results'}"]
    argv += ["-W", "error", "-p", "no:randomly", "-p", "no:cacheprovider", "--no-header", "-q"]
    # Ours alone: not what an outer pytest says to its workers, and no word against compiled files, which are the proof.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    # An engine of its own, which a fault may kill.
    env |= {"PYTHONPATH": str(tree), "FLEET_ENGINE_SOCKET": "double"}
    with (folder / "pytest.log").open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=tree, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # As Ctrl-C would: the world is taken down in order.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ENDED)
            process.kill()
            process.wait()


def _left_behind() -> list[str]:
    """The command lines of descendants that are still there after their time; they are killed."""
    with contextlib.suppress(WaitTimeout):
        wait_until(_descendants, "no process is left", timeout=_ENDED, until=lambda pids: not pids)
    left = _descendants()
    lines = [" ".join([str(pid), *Path(f"/proc/{pid}/cmdline").read_text().split("\0")])[:160] for pid in left]
    while remaining := _descendants():
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return lines


def _descendants() -> list[int]:
    """Children of ours, born or adopted, that have not ended; those that have are reaped."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
