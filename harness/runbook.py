"""Play scenarios: type their commands, check what came of them, and say whose fault a failure is.

A step that fails lets the world judge whose failure it is (`World.judge`): a `HarnessError` when the world is broken,
else a `StepFailed`, which says which step, which command, what was seen, and which parts' logs to read.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import allure
from allure_commons.types import AttachmentType

from harness import commands, folders
from harness.commands import Result
from harness.errors import HarnessError, Misused
from harness.recorder import Outcome, Recorder, StepRecord
from harness.redact import Redactor
from harness.scenario import Command, Scenario, Step, Value, fill
from harness.wait import stretch

if TYPE_CHECKING:
    from harness.world import World

_log = logging.getLogger("fleet.step")
_USER_CODE = re.compile(r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b")
"""A device code as Zitadel shows it (RFC 8628, section 6.1)."""

T = TypeVar("T")


class Terminal(Protocol):
    """Where a command is typed other than at the admin's terminal: a device's host."""

    @property
    def env(self) -> Mapping[str, str]: ...  # noqa: D102 - what a shell there has; empty: type it at the admin's


class StepFailed(AssertionError):  # noqa: N818 - the product was not what it should be
    """A step did not bring about what it must; the message says what was seen and where to look."""


@dataclass
class Run:
    """One playing of a scenario in a world: what its steps share.

    Attributes:
        world: Where it is played.
        names: What the placeholders of its commands stand for.
        folder: The working directory of its commands.
        terminals: By placeholder, the hosts on which `on_device` commands are typed.
        redact: Takes secrets out of what is shown.
    """

    world: World
    names: dict[str, Value]
    folder: Path
    terminals: Mapping[str, Terminal] = field(default_factory=dict[str, Terminal])
    redact: Redactor = field(default_factory=Redactor)
    _kept: dict[str, object] = field(default_factory=dict[str, object])

    def name(self, placeholder: str) -> str:
        """What a placeholder stands for.

        Raises:
            Misused: nothing, or several arguments.
        """
        value = self.names.get(placeholder)
        if not isinstance(value, str):
            raise Misused(f"{{{placeholder}}} is {value!r}", next_step=f"use one of {', '.join(sorted(self.names))}")
        return value

    def keep(self, **values: object) -> None:
        """Remember something for a later step."""
        self._kept |= values

    def kept(self, name: str, kind: type[T]) -> T:
        """What an earlier step kept.

        Raises:
            Misused: no earlier step kept it, or it is of another kind.
        """
        value = self._kept.get(name)
        if not isinstance(value, kind):
            raise Misused(f"no earlier step kept a {kind.__name__} {name!r}", next_step="keep it in a step before")
        return value

    def type(self, command: Command) -> Result:
        """Type one command and take in what it prints; its outcome is not judged.

        Raises:
            HarnessError: the program is missing, or a sign-in could not be approved.
        """
        argv = command.argv(self.names)
        line = self.redact(command.text(self.names))
        env = (self.terminals[command.on].env if command.on else {}) or self.world.env
        approval = _Approval(self.world) if command.sso else None

        def on_line(text: str) -> None:
            _log.info("    %s", self.redact(text))
            if approval is not None:
                approval.look(text)

        _log.info("  $ %s", line)
        result = commands.run(
            argv, line, env=env, folder=self.folder, deadline=command.deadline * stretch(), on_line=on_line
        )
        if approval is not None and approval.problem is not None:
            raise approval.problem
        return result


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
    missing = [text for text in (fill(it, names) for it in command.contains) if text not in result.output]
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
        step.check(run, *results)
    except AssertionError as error:
        raise run.world.judge(_explained(scenario, step, run, last, error)) from error


def _explained(scenario: Scenario, step: Step, run: Run, last: str, error: AssertionError) -> StepFailed:
    """The failure in words: which step, what should be, what was seen, and where to read on."""
    logs = folders.logs_to_read(run.world.root)
    parts = [_log_of(part, run) for part in step.look_at]
    read = ", ".join(f"the log of {part} ({logs / part}.log)" for part in parts) or str(logs)
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


def _log_of(part: str, run: Run) -> str:
    """`agent:device` is the agent of the device that the placeholder names."""
    owner, _, placeholder = part.partition(":")
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


class _Approval:
    """Approves the first device code that a command prints, once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._done = False
        self.problem: HarnessError | None = None

    def look(self, text: str) -> None:
        """Called with each line, from the threads that read the outputs."""
        found = _USER_CODE.search(text)
        if found is None or self._done:
            return
        self._done = True
        try:
            self._world.approve(found.group())
        except HarnessError as error:
            self.problem = error
