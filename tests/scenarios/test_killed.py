"""A command of a scenario that is killed at an observed moment: not after a time, which is another moment when busy."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.scenario.command import Result
from harness.scenario.command_line import Command, killed
from harness.scenario.player import StepFailed, play
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.step_log import Recorder
from scenarios import BOOK
from tests.scenarios.fake import run_in


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_a_command_is_killed_once_either_output_has_the_text(tmp_path: Path, stream: str) -> None:
    result = _play(f"echo first; echo pi-1: registered{stream}; while :; do sleep 0.05; done", tmp_path)
    assert result.code == 137
    assert {"first", "pi-1: registered"} <= set(result.output.splitlines())


@pytest.mark.parametrize(
    ("script", "deadline", "wrong"),
    [("echo no", 30.0, "exit code 0; 137 is right"), ("sleep 60", 0.3, "had not ended after 0.3 s")],
)
def test_a_command_that_never_says_it_fails(tmp_path: Path, script: str, deadline: float, wrong: str) -> None:
    with pytest.raises(StepFailed, match=wrong):
        _play(script, tmp_path, deadline)


def test_no_command_of_the_book_is_killed_after_a_time() -> None:
    typed = [command.template for scenario in BOOK for step in scenario.steps for command in step.commands]
    assert not [template for template in typed if template.startswith("timeout ")]


def _play(script: str, folder: Path, deadline: float = 30) -> Result:
    demo = Scenario(id="demo", title="Demonstrate", chapter="Demo", why="To see.")
    seen: list[Result] = []
    interrupted: Command = killed(f"sh -c '{script}'", at="{device}: registered", deadline=deadline)

    @demo.step("Interrupt", interrupted)
    def look(_run: Run, result: Result) -> None:
        """It was killed there."""
        seen.append(result)

    assert look
    play(demo, run_in(folder), Recorder(None))
    return seen[0]
