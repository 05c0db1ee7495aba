"""`--fleet-report`: the pages are there when pytest ends, a failure is explained, nothing is missing in silence."""

from __future__ import annotations

import json
import re
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


def test_a_crashed_worker_is_in_the_report(go: Go, pytester: pytest.Pytester) -> None:
    run = go("import os\ndef test_one(): pass\ndef test_crash(): os._exit(1)", "-n", "1", "--max-worker-restart", "0")
    assert run.ret != 0
    crashed = {result["name"]: result["status"] for result in results(pytester.path)}["test_crash"]
    assert crashed == "broken"


def test_a_run_without_the_option_leaves_nothing(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile("def test_one(): pass")
    pytester.runpytest_subprocess("-p", "no:randomly")
    assert not (pytester.path / "out").exists()


def test_a_crashed_worker_is_in_allures_results_without_our_report(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile("import os\ndef test_crash(): os._exit(1)")
    pytester.runpytest_subprocess("-n", "1", "--max-worker-restart", "0", "--alluredir", "out/results")
    assert [result["status"] for result in results(pytester.path)] == ["broken"]


def test_every_case_has_an_identity_of_its_own(go: Go, pytester: pytest.Pytester) -> None:
    """Bytes, surrogates, types and objects are parameters that Allure's plugin cannot tell apart or write."""
    go(
        """
        import allure, pytest
        class Thing: pass
        CASES = [b"a", b"b", "\\udcff", "\\udcfe", Thing(), Thing(), [b"x"], float("nan"), {"k": b"v"}]
        @pytest.mark.parametrize("value", CASES)
        def test_value(value):
            allure.attach("\\udcff", name="\\udcff")
            assert value != b"b"
        """
    )
    found = results(pytester.path)
    assert len(found) == 9
    assert len({json.dumps(result["parameters"]) for result in found}) == 9
    assert [result["status"] for result in found].count("failed") == 1


def test_the_page_counts_as_pytest_does(go: Go, pytester: pytest.Pytester) -> None:
    run = go(
        """
        import pytest
        @pytest.mark.parametrize("value", [b"a", b"b"])
        def test_value(value): assert value == b"a"
        def test_skipped(): pytest.skip("not here")
        @pytest.fixture
        def bad(): raise ValueError("bad")
        def test_error(bad): pass
        """
    )
    run.assert_outcomes(passed=1, failed=1, skipped=1, errors=1)
    assert "does not agree" not in run.stdout.str()


def test_results_that_were_lost_are_missed(go: Go) -> None:
    run = go(
        """
        from pathlib import Path
        def test_one(): pass
        def test_two():
            for file in Path("out/results").glob("*-result.json"): file.unlink()
        """
    )
    assert run.ret != 0
    run.stdout.fnmatch_lines(["*does not agree with the run: pytest counted 2 passed; the results say 1 passed*"])


def test_the_page_asks_no_other_host(go: Go, pytester: pytest.Pytester) -> None:
    go("def test_one(): pass")
    page = (pytester.path / "out" / "index.html").read_text()
    assert not re.findall(r"""<(?:script|link|img|iframe)[^>]*\s(?:src|href)=["']?(?:https?:)?//[^>]*>""", page)
    assert "googletagmanager" not in page
    assert "Content-Security-Policy" in page


def test_an_interrupted_test_did_not_pass(go: Go, pytester: pytest.Pytester) -> None:
    go("def test_one(): pass\ndef test_two(): raise KeyboardInterrupt")
    assert {result["name"]: result["status"] for result in results(pytester.path)} == {
        "test_one": "passed",
        "test_two": "broken",
    }


def test_a_folder_that_cannot_be_written_is_refused_in_words(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_CONFTEST)
    (pytester.path / "out").write_text("a file")
    run = pytester.runpytest_subprocess("--fleet-report", "out")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*--fleet-report*", "*next: name a folder*"])
