"""pytest plugin: `--fleet-report DIR` leaves the whole report of a run there.

    DIR/index.html      Allure's report, one file
    DIR/coverage.json   which steps of the runbook the run has proven (`reports.coverage.Coverage`)
    DIR/runbook.txt     the same as a table, which the page holds too
    DIR/results/        Allure's raw results
    DIR/steps/          a JSON line for each step played, a file per process

A failed test that has a world gets its timeline and every part's log attached. The controller writes the pages at the
session's end, when every worker has written its results; pytest's own summary still comes last.
"""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import allure
import allure_pytest.listener
import allure_pytest.plugin
import msgspec
import pytest
from allure_commons.model2 import Status, StatusDetails
from allure_commons.types import AttachmentType, LabelType

from harness.errors import HarnessError
from harness.scenario.redact import Redactor
from harness.scenario.step_log import StepRecord, read_records
from harness.world.world import World
from reports import html, timeline
from reports.coverage import Coverage, measure, table
from reports.facts import versions
from reports.results import CASE, NOT_PLAYED, Outcome, ResultWriter, check, history_id, numbered, write_result

_BEFORE = 1.0
"""Seconds of the timeline before the failed test began."""
_TALKATIVE = ("kube-apiserver", "etcd", "node-")
"""How the logs of servers that are not ours begin: those of a control plane, and of a Kubernetes node."""
_STARTED = pytest.StashKey[float]()
_ATTACHED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option."""
    group = parser.getgroup("fleet", "worlds for the fleet, and the report")
    group.addoption("--fleet-report", metavar="DIR", type=Path, help="leave the report of the run in DIR")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before Allure's plugin reads its options."""
    folder: Path | None = config.getoption("--fleet-report")
    if folder is not None:
        folder = config.invocation_params.dir / folder
        config.option.allure_report_dir = str(folder / "results")
    results: str | None = config.getoption("allure_report_dir")
    if results is None:
        return
    if folder is not None and not _is_worker(config):
        _empty(folder, config)
    allure_pytest.plugin.AllureFileLogger = _writer
    allure_pytest.listener.get_history_id = history_id
    config.pluginmanager.register(Results(Path(results).absolute()), "fleet-results")
    if folder is not None:
        config.pluginmanager.register(Report(folder), "fleet-report")


def _empty(folder: Path, config: pytest.Config) -> None:
    """Remove what an earlier run left, unless this run goes on with it."""
    # Not --clean-alluredir: with xdist it has deleted the results of a running session.
    resumed: Path | None = config.getoption("fleet_resume", default=None)
    goes_on = resumed is not None and resumed.exists()
    try:
        for stale in () if goes_on else ("results", "steps", "history"):
            shutil.rmtree(folder / stale, ignore_errors=True)
        (folder / "results").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder / "results"):
            pass
    except OSError as error:
        message = f"--fleet-report {folder}: {error.strerror}\n  next: name a folder that you may write to"
        raise pytest.UsageError(message) from error


def _writer(folder: str, clean: bool) -> ResultWriter:
    """Stand in for `AllureFileLogger`. `clean` is ignored: see `_empty`."""
    from scenarios import BOOK  # noqa: PLC0415

    return ResultWriter(Path(folder), (scenario.chapter for scenario in BOOK))


class Results:
    """The hooks that give every test a result of its own, with an identity of its own."""

    def __init__(self, folder: Path) -> None:
        """Results go to `folder`."""
        self._folder = folder

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Add the case's id as a parameter: Allure identifies a result by its name and its parameters."""
        callspec = getattr(item, "callspec", None)
        if callspec is not None:
            allure.dynamic.parameter(CASE, callspec.id)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Write an interrupted test as broken: Allure's plugin would write it as passed."""
        try:
            return (yield)
        except BaseException as error:
            listener = item.config.pluginmanager.get_plugin("allure_listener")
            result = listener.allure_logger.get_test(None) if listener else None
            if result is not None:
                result.status = Status.BROKEN
                result.statusDetails = _details(f"interrupted: {error!r}")
            raise

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a result for a test whose worker died. The controller of xdist reports it with the phase `???`."""
        if report.when not in {"setup", "call", "teardown"}:
            write_result(self._folder, report.nodeid, Status.BROKEN, str(report.longrepr), {"verdict": "world"})


class Report:
    """The hooks of a run that leaves a report."""

    def __init__(self, folder: Path) -> None:
        """Leave it in `folder`."""
        self.folder = folder
        self._built = html.Built(None)
        self._coverage: Coverage | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._seconds = 0.0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Group tests that are no scenario by their folder, beside the runbook."""
        for item in items:
            if item.path.parent.name != "e2e":
                item.add_marker(pytest.mark.allure_label("Tests", label_type=LabelType.EPIC))
                item.add_marker(pytest.mark.allure_label(item.path.parent.name, label_type=LabelType.FEATURE))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Remember when the test began."""
        item.stash[_STARTED] = time.time()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach what explains a failure, while Allure's test is still open."""
        report = yield
        if report.failed and not item.stash.get(_ATTACHED, False):
            item.stash[_ATTACHED] = True
            if call.excinfo is not None and call.excinfo.errisinstance(HarnessError):
                allure.dynamic.label("verdict", "world")
            world = _world_of(item)
            if world is not None:
                self._explain(world, item)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what ran, by outcome: Allure must have a result of each."""
        before = self._outcomes.get(report.nodeid, "passed")
        if before == "passed":
            self._outcomes[report.nodeid] = report.outcome

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the pages once every result is there."""
        if _is_worker(session.config) or not self._outcomes:
            return
        from scenarios import BOOK  # noqa: PLC0415 - a run without a report needs no scenario

        started = time.monotonic()
        records = read_records(self.folder / "steps")
        self._coverage = measure(BOOK, records)
        (self.folder / "coverage.json").write_bytes(msgspec.json.format(msgspec.json.encode(self._coverage)))
        (self.folder / "runbook.txt").write_text("\n".join(table(BOOK, self._coverage)) + "\n")
        results = self.folder / "results"
        missing = check(results, self._outcomes)
        if records:
            _name_unplayed(results, self._coverage)
        _write_environment(results, records)
        self._built = html.build(results, self.folder, missing)
        self._seconds = time.monotonic() - started
        if self._built.mismatch and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Steps proven, time of each, where the report lies."""
        if self._coverage is None:
            return
        from scenarios import BOOK  # noqa: PLC0415

        if any(step.runs for step in self._coverage.steps):
            terminalreporter.write_sep("=", "runbook")
            for line in table(BOOK, self._coverage):
                terminalreporter.write_line(line, red="FAILED" in line)
        terminalreporter.write_sep("=", "report")
        if self._built.page is not None:
            terminalreporter.write_line(f"{self._built.page} (written in {self._seconds:.1f} s)")
        for problem in filter(None, (self._built.problem, self._built.mismatch)):
            terminalreporter.write_line(problem, red=True)

    def _explain(self, world: World, item: pytest.Item) -> None:
        """The timeline, then each part's log."""
        redact = Redactor(_secrets(world))
        now = time.time()
        logs = {path.stem: timeline.tail(path) for path in sorted((world.root / "logs").glob("*.log"))}
        text = timeline.render(
            timeline.merge(
                [
                    timeline.of_steps(read_records(self.folder / "steps")),
                    timeline.of_events(world.history, timeline.wall_offset()),
                    *(_telling(timeline.of_log(name, log)) for name, log in logs.items()),
                ],
                item.stash.get(_STARTED, now) - _BEFORE,
                now,
            )
        )
        allure.attach(redact(text), name="timeline", attachment_type=AttachmentType.TEXT)
        for name, log in logs.items():
            if log.strip():
                allure.attach(redact(log), name=f"{name}.log", attachment_type=AttachmentType.TEXT)


def _telling(entries: list[timeline.Entry]) -> list[timeline.Entry]:
    """Without the small talk of servers that are not ours; it is in their logs, which are attached too."""
    return [it for it in entries if not it.source.startswith(_TALKATIVE) or it.level not in {"info", "debug", ""}]


def _name_unplayed(results: Path, coverage: Coverage) -> None:
    """Add a skipped result for each scenario that was not played, so that the page never shows 100 % without it."""
    from scenarios import BOOK  # noqa: PLC0415

    played = {step.scenario for step in coverage.steps if step.runs}
    chapters = numbered(scenario.chapter for scenario in BOOK)
    for scenario in BOOK:
        if scenario.id not in played:
            labels = {LabelType.EPIC: "Runbook", LabelType.FEATURE: chapters[scenario.chapter], "verdict": NOT_PLAYED}
            write_result(results, scenario.title, Status.SKIPPED, "this run did not play it", labels)


def _details(message: str) -> StatusDetails:
    details = StatusDetails()
    details.message = message
    return details


def _world_of(item: pytest.Item) -> World | None:
    found: dict[str, Any] = getattr(item, "funcargs", {})
    return next((value for value in found.values() if isinstance(value, World)), None)


def _secrets(world: World) -> list[str]:
    try:
        return [world.admin_token_file.read_text().strip()]
    except OSError:
        return []


def _write_environment(results: Path, records: list[StepRecord]) -> None:
    """What the run ran on: Allure shows it beside the results."""
    facts = {
        "target": ", ".join(sorted({record.target for record in records})) or "none",
        "engine": ", ".join(sorted({record.engine for record in records})) or "none",
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **versions(),
    }
    lines = "".join(f"{name}={value}\n" for name, value in facts.items())
    (results / "environment.properties").write_text(lines)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
