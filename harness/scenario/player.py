"""Play scenarios: type their commands, check what came of them, and say whose fault a failure is.

A step that fails lets the world judge whose failure it is (`World.judge`): a `HarnessError` when the world is broken,
else a `StepFailed`, which says which step, which command, what was seen, and which components' logs to read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import allure
from allure_commons.types import AttachmentType

from harness.errors import HarnessError, Misused
from harness.scenario.command import Result
from harness.scenario.command_line import Command, Value, fill
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario, Step
from harness.scenario.step_log import Outcome, Recorder, StepRecord
from harness.world import folders

if TYPE_CHECKING:
    pass

_log = logging.getLogger("fleet.step")


class StepFailed(AssertionError):  # noqa: N818 - the product was not what it should be
    """A step did not bring about what it must; the message says what was seen and where to look."""


def play(
    scenario: Scenario, run: Run, recorder: Recorder, *, before_each: Callable[[Step], None] | None = None
) -> None:
    """Play every step of a scenario, in order; the first that fails ends it.

    Args:
        scenario: What to play.
        run: Where, and with which names.
        recorder: Keeps a record of each step.
        before_each: Called before each step; a disturbance of the world, for example.

    Raises:
        StepFailed: the product was wrong.
        HarnessError: the world was.
    """
    _log.info("%s: %s", scenario.id, scenario.title)
    for number, step in enumerate(scenario.steps, start=1):
        run.world.take_turn(alone=step.alone)
        if before_each is not None:
            before_each(step)
        with _recorded(scenario, number, step, run, recorder), allure.step(step.title):
            _play_step(scenario, step, run)


def judge(command: Command, result: Result, names: Mapping[str, Value]) -> str:
    """What is wrong with a command's result: empty when it is as the scenario says."""
    if result.code is None:
        return f"it had not ended after {command.deadline:g} s"
    if result.code != command.exit_code:
        return f"it ended with exit code {result.code}; {command.exit_code} is right"
    missing = [text for text in (fill(part, names) for part in command.contains) if text not in result.output]
    if missing:
        return f"its output does not say {missing[0]!r}"
    return ""


def _play_step(scenario: Scenario, step: Step, run: Run) -> None:
    last = ""
    for name, content in step.files.items():
        text = fill(content, run.names)
        (run.folder / name).write_text(text)
        allure.attach(text, name=name, attachment_type=AttachmentType.TEXT)
    try:
        results: list[Result] = []
        for command in step.commands:
            result = run.type(command)
            last = run.redact(str(result))
            allure.attach(last, name=f"$ {result.line}", attachment_type=AttachmentType.TEXT)
            wrong = judge(command, result, run.names)
            if wrong:
                raise AssertionError(wrong)  # noqa: TRY301 - judged below, like a failed check
            results.append(result)
        step.check(run, *(results if step.takes_results else ()))
    except AssertionError as error:
        raise run.world.judge(_explained(scenario, step, run, last, error)) from error


def _explained(scenario: Scenario, step: Step, run: Run, last: str, error: AssertionError) -> StepFailed:
    """The failure in words: which step, what should be, what was seen, and where to read on."""
    logs = folders.logs_to_read(run.world.root)
    components = [_log_of(component, run) for component in step.look_at]
    read = ", ".join(f"the log of {component} ({logs / component}.log)" for component in components) or str(logs)
    number = scenario.steps.index(step) + 1
    return StepFailed(
        "\n".join(
            [
                f"{scenario.title}: the step «{step.title}» failed ({scenario.id}, step {number})",
                f"  should be: {step.expected}",
                f"  seen: {run.redact(str(error)) or type(error).__name__}",
                *(f"  | {line}" for line in last.splitlines()),
                f"  read: {read}",
            ]
        )
    )


def _log_of(component: str, run: Run) -> str:
    """`agent:device` is the agent of the device that the placeholder names."""
    owner, _, placeholder = component.partition(":")
    return f"{owner}-{run.name(placeholder)}" if placeholder else owner


@contextmanager
def _recorded(scenario: Scenario, number: int, step: Step, run: Run, recorder: Recorder) -> Generator[None]:
    _log.info("%s %d/%d: %s", scenario.id, number, len(scenario.steps), step.title)
    started, monotonic = time.time(), time.monotonic()
    outcome: Outcome = "error"
    message = "interrupted"
    try:
        yield
        outcome, message = "passed", ""
    except AssertionError as error:
        outcome, message = "product", str(error)
        raise
    except HarnessError as error:
        outcome = "error" if isinstance(error, Misused) else "world"
        message = str(error)
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise
    finally:
        typed = tuple(run.redact(command.text(run.names)) for command in step.commands)
        recorder.add(
            StepRecord(
                scenario=scenario.id,
                step=step.title,
                number=number,
                commands=typed,
                started=started,
                monotonic=monotonic,
                seconds=time.monotonic() - monotonic,
                outcome=outcome,
                target=run.world.target,
                engine=run.world.engine,
                message=run.redact(message),
            )
        )
