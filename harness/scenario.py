"""What a scenario is: the steps that an operator takes, what each types, and what one should see.

A scenario is data and small functions, so that one object is both: played against a world (`harness.runbook`), and
printed as a chapter of `docs/runbook.md` (`scenarios.book`), which runs nothing.

    deploy = Scenario(id="deploy", title="Roll out a workload", chapter="Deploy", why="...")

    @deploy.step("Apply the deployment", "fleet deployment apply --file {folder}/web.json", look_at=("operator",))
    def applied(run: Run, result: Result) -> None:
        '''The deployment is accepted.'''
        assert result.json(FleetDeployment).metadata.name == run.name("deployment")
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Concatenate

from harness.errors import Misused

if TYPE_CHECKING:
    from harness.runbook import Run

Value = str | tuple[str, ...]
"""What a placeholder stands for: one argument, or several."""

StepFunction = Callable[Concatenate["Run", ...], None]
"""Looks at what came of the commands; takes the run, and then one `Result` for each command."""

DEADLINE = 30.0
"""Seconds that a command may take."""

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


@dataclass(frozen=True)
class Command:
    """One command line, exactly as typed, with placeholders such as `{device}`.

    Attributes:
        template: Split as a shell splits words, but never given to a shell.
        exit_code: The code it must end with.
        contains: Texts that its output must hold; with placeholders.
        sso: It prints a code that somebody approves in a browser.
        on: The placeholder of the device on whose host it is typed; empty: at the admin's own terminal.
        deadline: Seconds until it counts as hung.
    """

    template: str
    exit_code: int = 0
    contains: tuple[str, ...] = ()
    sso: bool = False
    on: str = ""
    deadline: float = DEADLINE

    def placeholders(self) -> set[str]:
        """The names that must be known to fill it in."""
        texts = (self.template, *self.contains)
        return {name for text in texts for name in placeholders(text)} | ({self.on} if self.on else set())

    def argv(self, names: Mapping[str, Value]) -> list[str]:
        """The arguments to run; a value is never split, a tuple becomes several.

        Raises:
            Misused: a placeholder has no value.
        """
        return [filled for word in shlex.split(self.template) for filled in _fill(word, names)]

    def text(self, names: Mapping[str, Value]) -> str:
        """The line as a person would type it."""
        return shlex.join(self.argv(names))


def refused(template: str, exit_code: int, *, contains: str | tuple[str, ...], on: str = "") -> Command:
    """A command that must fail with exactly this code, and say why."""
    return Command(template, exit_code, (contains,) if isinstance(contains, str) else contains, on=on)


def signed_in(template: str) -> Command:
    """A command during which a person signs in: it prints a code, and goes on once the code is approved."""
    return Command(template, sso=True)


def on_device(template: str, device: str = "device") -> Command:
    """A command typed on a device's host rather than at the admin's terminal."""
    return Command(template, on=device)


@dataclass(frozen=True)
class Step:
    """One act and what it must bring about.

    Attributes:
        title: What happens, in the imperative.
        commands: What is typed, in order.
        check: Called with their results; its docstring says what one should see.
        files: What lies beside the operator before the commands, by name; contents hold placeholders too.
        look_at: The parts whose logs explain a failure, the likeliest first.
        alone: Whether it ends, or goes on without, servers that the worlds of other workers may share.
    """

    title: str
    commands: tuple[Command, ...]
    check: StepFunction
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    look_at: tuple[str, ...] = ()
    alone: bool = False

    @property
    def expected(self) -> str:
        """What one should see, in the words of the function's docstring."""
        return " ".join((inspect.getdoc(self.check) or "").split())


@dataclass
class Scenario:
    """A piece of the production runbook.

    Attributes:
        id: Unique, a lower-case word or several joined with `-`.
        title: What an operator achieves.
        chapter: Where the runbook shows it.
        why: What it is good for, in a sentence or two.
        server: Whether a fleet server must be installed before the first step; if not, none may be.
        devices: How many fresh enrolled devices must be online before the first step.
        agents: How many versions of the agent must be published; the devices run the first. 0: the one installed here.
        earlier: Whether programs and images of the two releases before this one must be at hand.
    """

    id: str
    title: str
    chapter: str
    why: str
    server: bool = True
    devices: int = 0
    agents: int = 0
    earlier: bool = False
    steps: list[Step] = field(default_factory=list[Step])

    def step(
        self,
        title: str,
        *commands: str | Command,
        files: Mapping[str, str] | None = None,
        look_at: tuple[str, ...] = (),
        alone: bool = False,
    ) -> Callable[[StepFunction], StepFunction]:
        """Add a step; the decorated function checks what its commands brought about.

        Raises:
            Misused: the scenario has a step of that title, or the function has no docstring.
        """
        if any(step.title == title for step in self.steps):
            raise Misused(f"{self.id} has a step {title!r} already", next_step="give each step a title of its own")
        typed = tuple(Command(command) if isinstance(command, str) else command for command in commands)

        def add(check: StepFunction) -> StepFunction:
            step = Step(title, typed, check, files or {}, look_at, alone)
            if not step.expected:
                raise Misused(f"{self.id}, {title!r}: no docstring", next_step="say in it what one should see")
            self.steps.append(step)
            return check

        return add

    @property
    def names_a_device(self) -> bool:
        """Whether a step is about a device, which a scenario may also enroll itself."""
        words = {name for step in self.steps for command in step.commands for name in command.placeholders()}
        return bool(words & {"device", "config", "where"})

    @property
    def needs(self) -> str:
        """What must be there before the first step, for a person."""
        if self.earlier:
            return "a place to install into, and the two releases before this one"
        if not self.server:
            return "a place to install into"
        if not self.devices:
            return "an installed fleet server"
        devices = "a device" if self.devices == 1 else f"{self.devices} devices"
        with_versions = " that runs v0.1.1" if self.agents else ""
        published = f", and {self.agents} published agents" if self.agents else ""
        return f"an installed fleet server and {devices}{with_versions}{published}"


def fill(text: str, names: Mapping[str, Value]) -> str:
    """A text with its placeholders replaced.

    Raises:
        Misused: a placeholder has no value, or stands for several arguments.
    """
    return _PLACEHOLDER.sub(lambda found: _single(found.group(1), names), text)


def placeholders(text: str) -> set[str]:
    """The names that must be known to fill a text in."""
    return set(_PLACEHOLDER.findall(text))


def _fill(word: str, names: Mapping[str, Value]) -> tuple[str, ...]:
    whole = _PLACEHOLDER.fullmatch(word)
    if whole is not None and isinstance(several := _value(whole.group(1), names), tuple):
        return several
    return (fill(word, names),)


def _single(name: str, names: Mapping[str, Value]) -> str:
    value = _value(name, names)
    if isinstance(value, tuple):
        raise Misused(f"{{{name}}} stands for several arguments", next_step="let it stand alone, between spaces")
    return value


def _value(name: str, names: Mapping[str, Value]) -> Value:
    try:
        return names[name]
    except KeyError:
        known = ", ".join(sorted(names))
        raise Misused(f"no value for {{{name}}}", next_step=f"use one of: {known}") from None
