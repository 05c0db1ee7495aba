"""One playing of a scenario: what its steps share, and how they type commands."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Protocol, TypeVar, get_origin, get_type_hints

from harness.errors import HarnessError, Misused
from harness.scenario import command as commands
from harness.scenario.command import Result
from harness.scenario.command_line import Command, Value, fill
from harness.scenario.redact import Redactor
from harness.wait import stretch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from harness.images.private_registry import PrivateRegistry
    from harness.world.world import World

_log = logging.getLogger("fleet.step")
_USER_CODE = re.compile(r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b")
"""A device code as Zitadel shows it (RFC 8628, section 6.1)."""

T = TypeVar("T")


class Terminal(Protocol):
    """Where a command is typed other than at the admin's terminal: a device's host."""

    @property
    def env(self) -> Mapping[str, str]: ...  # noqa: D102 - what a shell there has; empty: type it at the admin's


@dataclass
class Run:
    """One playing of a scenario in a world: what its steps share.

    Attributes:
        world: Where it is played.
        names: What the placeholders of its commands stand for.
        folder: The working directory of its commands.
        terminals: By placeholder, the hosts on which `on_device` commands are typed.
        redact: Takes secrets out of what is shown.
        registry: Where `{private_image}` lies, if the scenario asks for one.
    """

    world: World
    names: dict[str, Value]
    folder: Path
    terminals: Mapping[str, Terminal] = field(default_factory=dict[str, Terminal])
    redact: Redactor = field(default_factory=Redactor)
    registry: PrivateRegistry | None = None
    _kept: dict[type, object] = field(default_factory=dict[type, object])
    _staying: list[commands.Staying] = field(default_factory=list[commands.Staying])

    def name(self, placeholder: str) -> str:
        """What a placeholder stands for.

        Raises:
            Misused: nothing, or several arguments.
        """
        value = self.names.get(placeholder)
        if not isinstance(value, str):
            raise Misused(f"{{{placeholder}}} is {value!r}", next_step=f"use one of {', '.join(sorted(self.names))}")
        return value

    def keep(self, state: DataclassInstance) -> None:
        """Keep what a step saw for later steps: one state of each type, so a new one replaces the former.

        Raises:
            Misused: it is no dataclass, or a field has a value of another type than it declares.
        """
        if not is_dataclass(state):
            raise Misused(f"{state!r} is no dataclass", next_step="declare one in the scenario's module")
        for name, kind in get_type_hints(type(state)).items():
            origin = get_origin(kind)  # a generic is checked without its parameters, which pyright checks
            accepted = int | float if kind is float else kind if origin in {None, UnionType} else origin
            if not isinstance(value := getattr(state, name), accepted):
                raise Misused(f"{type(state).__name__}.{name} is {value!r}", next_step=f"it is declared as {kind}")
        self._kept[type(state)] = state

    def kept(self, kind: type[T]) -> T:
        """The state of this type that an earlier step kept.

        Raises:
            Misused: no earlier step kept one.
        """
        state = self._kept.get(kind)
        if not isinstance(state, kind):
            raise Misused(f"no earlier step kept a {kind.__name__}", next_step="keep it in a step before")
        return state

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
                approval.on_line(text)

        _log.info("  $ %s", line)
        if command.stays:
            staying = commands.Staying(argv, line, env=env, folder=self.folder, on_line=on_line)
            self._staying.append(staying)
            return staying.await_text(command.stays, command.deadline * stretch())
        result = commands.run(
            argv,
            line,
            env=env,
            folder=self.folder,
            deadline=command.deadline * stretch(),
            on_line=on_line,
            killed_at=fill(command.killed_at, self.names),
        )
        if approval is not None and approval.problem is not None:
            raise approval.problem
        return result

    def end_staying(self) -> None:
        """Press Ctrl-C wherever a command still goes on."""
        while self._staying:
            self._staying.pop().end()


class _Approval:
    """Approves the first device code that a command prints, once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._done = False
        self.problem: HarnessError | None = None

    def on_line(self, text: str) -> None:
        """Called with each line, from the threads that read the outputs."""
        match = _USER_CODE.search(text)
        if match is None or self._done:
            return
        self._done = True
        try:
            self._world.approve(match.group())
        except HarnessError as error:
            self.problem = error
