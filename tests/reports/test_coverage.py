"""What a run has proven, set against the whole runbook."""

from __future__ import annotations

from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.step_log import Outcome, StepRecord
from reports.coverage import measure, table


def book() -> list[Scenario]:
    made: list[Scenario] = []
    for name in ("install", "revoke"):
        scenario = Scenario(id=name, title=f"To {name}", chapter="x", why="x")
        for step in ("First", "Second"):

            @scenario.step(step)
            def check(_run: Run) -> None:
                """It is so."""

            assert check
        made.append(scenario)
    return made


def record(
    scenario: str, step: str, outcome: Outcome = "passed", seconds: float = 1.0, message: str = ""
) -> StepRecord:
    return StepRecord(scenario, step, 1, (), 100.0, 0.0, seconds, outcome, "embedded", "docker", message)


def test_nothing_played_proves_nothing() -> None:
    coverage = measure(book(), [])
    assert (coverage.proven, coverage.total) == (0, 4)
    assert {step.standing for step in coverage.steps} == {"not run"}


def test_a_step_is_proven_by_passing_every_time() -> None:
    coverage = measure(book(), [record("install", "First", seconds=1), record("install", "First", seconds=3)])
    first = coverage.steps[0]
    assert (first.standing, first.runs, first.seconds, first.targets) == ("proven", 2, 2.0, ("embedded",))
    assert (coverage.proven, coverage.seconds) == (1, 4.0)


def test_one_failure_unproves_a_step_and_says_what_was_seen() -> None:
    message = "To install: the step «First» failed\n  should be: so\n  seen: exit code 8\n  | more"
    coverage = measure(book(), [record("install", "First"), record("install", "First", "product", message=message)])
    assert (coverage.steps[0].standing, coverage.steps[0].why) == ("failed", "product: exit code 8")
    assert coverage.proven == 0


def test_a_step_that_the_book_no_longer_has_counts_for_nothing() -> None:
    assert measure(book(), [record("install", "Third")]).proven == 0


def test_the_table_says_what_was_proven_how_long_it_took_and_what_was_not_played() -> None:
    coverage = measure(book(), [record("install", "First", seconds=1.25), record("install", "Second", "world")])
    lines = table(book(), coverage)
    assert lines[0] == "   2.25 s  To install (1/2)"
    assert lines[1] == "   1.25 s    ok      First"
    assert lines[2].startswith("   1.00 s    FAILED  Second - world: ")
    assert lines[3:] == ["proven: 1 of 4 steps of the runbook, on embedded", "not played: revoke"]
