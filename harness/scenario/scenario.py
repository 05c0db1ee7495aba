"""What a scenario is: the steps that an operator takes, what each types, and what one should see.

A scenario is data and small functions, so that one object is both: played against a world (`harness.scenario.player`),
and printed as a chapter of `docs/runbook.md` (`scenarios.book`), which runs nothing.

    deploy = Scenario(id="deploy", title="Roll out a workload", chapter="Deploy", why="...")

    @deploy.step("Apply the deployment", "fleet deployment apply --file {folder}/web.json", look_at=("operator",))
    def applied(run: Run, result: Result) -> None:
        '''The deployment is accepted.'''
        assert result.json(FleetDeployment).metadata.name == run.name("deployment")
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Concatenate

from harness.errors import Misused
from harness.scenario.command_line import Command
from harness.scenario.run import Run

StepFunction = Callable[Concatenate[Run, ...], None]
"""Looks at what came of the commands; takes the run, and one `Result` for each command unless it needs none."""


@dataclass(frozen=True)
class Step:
    """One act and what it must bring about.

    Attributes:
        title: What happens, in the imperative.
        commands: What is typed, in order.
        check: Called with their results; its docstring says what one should see.
        files: What lies beside the operator before the commands, by name; contents hold placeholders too.
        look_at: The components whose logs explain a failure, the likeliest first.
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

    @property
    def takes_results(self) -> bool:
        """Whether the check takes the results of the commands, besides the run."""
        return len(inspect.signature(self.check).parameters) > 1


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
        registry: Whether an image must lie in a registry that asks for a password, and that its devices reach.
        asks: What its devices must be able to do beyond what every device can: protocols of `harness.devices`.
    """

    id: str
    title: str
    chapter: str
    why: str
    server: bool = True
    devices: int = 0
    agents: int = 0
    earlier: bool = False
    registry: bool = False
    asks: tuple[type, ...] = ()
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
            Misused: the scenario has a step of that title, or the function has no docstring or takes another number of
                results.
        """
        if any(step.title == title for step in self.steps):
            raise Misused(f"{self.id} has a step {title!r} already", next_step="give each step a title of its own")
        typed = tuple(Command(command) if isinstance(command, str) else command for command in commands)

        def add(check: StepFunction) -> StepFunction:
            step = Step(title, typed, check, files or {}, look_at, alone)
            if not step.expected:
                raise Misused(f"{self.id}, {title!r}: no docstring", next_step="say in it what one should see")
            try:
                inspect.signature(check).bind(None, *(typed if step.takes_results else ()))
            except TypeError as error:
                wrong = f"{self.id}, {title!r}: the check cannot take the results of {len(typed)} commands: {error}"
                raise Misused(wrong, next_step="let it take none, or one for each command") from error
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
        image = ", and an image in a registry that asks for a password" if self.registry else ""
        return f"an installed fleet server and {devices}{with_versions}{published}{image}"
