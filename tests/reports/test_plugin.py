"""`--fleet-report`: the pages are there when pytest ends, a failure is explained, nothing is missing in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

_CONFTEST = """
pytest_plugins = ["reports.plugin"]
"""
Go = Callable[..., pytest.RunResult]


@pytest.fixture
def go(pytester: pytest.Pytester) -> Go:
    """Runs pytest in a process of its own on a file of tests, with a report in `out`."""
    pytester.makeconftest(_CONFTEST)

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=source)
        return pytester.runpytest_subprocess("-p", "no:randomly", "--fleet-report", "out", *arguments)

    return run


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "out" / "results").glob("*-result.json"))]


def test_every_run_leaves_a_page_before_pytests_own_last_word(go: Go, pytester: pytest.Pytester) -> None:
    run = go("def test_one(): pass")
    assert run.ret == 0
    assert "<html" in (pytester.path / "out" / "index.html").read_text()[:1000]
    assert json.loads((pytester.path / "out" / "coverage.json").read_text())["proven"] == 0
    assert "proven: 0 of" in (pytester.path / "out" / "runbook.txt").read_text()
    run.stdout.re_match_lines([r"=+ report =+", r".*out/index.html \(written in .* s\)", r"=+ 1 passed in .*"])
    assert "passed" in run.outlines[-1]


def test_the_report_holds_the_latest_run_only(go: Go, pytester: pytest.Pytester) -> None:
    go("def test_one(): pass")
    go("def test_two(): pass")
    assert [result["name"] for result in results(pytester.path)] == ["test_two"]


def test_a_world_failure_is_told_from_a_product_failure(go: Go, pytester: pytest.Pytester) -> None:
    go(
        """
        from harness.errors import DiskFull
        def test_product(): assert False, "wrong"
        def test_world(): raise DiskFull("full", next_step="free space")
        """
    )
    found = {result["name"]: result for result in results(pytester.path)}
    assert found["test_product"]["status"] == "failed"
    assert found["test_world"]["status"] == "broken"
    assert {"name": "verdict", "value": "world"} in found["test_world"]["labels"]
    assert {"name": "verdict", "value": "world"} not in found["test_product"]["labels"]


def test_workers_share_one_report(go: Go, pytester: pytest.Pytester) -> None:
    run = go("import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_n(n): pass", "-n", "2")
    assert run.ret == 0
    assert len(results(pytester.path)) == 4
    run.stdout.fnmatch_lines(["*out/index.html*"])


def test_a_crashed_worker_is_missed_in_the_report(go: Go) -> None:
    run = go("import os\ndef test_one(): pass\ndef test_crash(): os._exit(1)", "-n", "1", "--max-worker-restart", "0")
    assert run.ret != 0
    run.stdout.fnmatch_lines(["*the report lacks results*"])


def test_a_run_without_the_option_leaves_nothing(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile("def test_one(): pass")
    pytester.runpytest_subprocess("-p", "no:randomly")
    assert not (pytester.path / "out").exists()
