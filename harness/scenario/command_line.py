"""A command line of a scenario, as a person types it, with placeholders such as `{device}`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import Misused

Value = str | tuple[str, ...]
"""What a placeholder stands for: one argument, or several."""

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
        stays: It may go on until Ctrl-C: once it has printed this, the next one is typed elsewhere.
        killed_at: SIGKILL ends it as soon as a line of its output has this text; with placeholders.
    """

    template: str
    exit_code: int = 0
    contains: tuple[str, ...] = ()
    sso: bool = False
    on: str = ""
    deadline: float = DEADLINE
    stays: str = ""
    killed_at: str = ""

    def placeholders(self) -> set[str]:
        """The names that must be known to fill it in."""
        texts = (self.template, *self.contains, self.killed_at)
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


def killed(template: str, *, at: str, deadline: float = DEADLINE) -> Command:
    """A command that SIGKILL interrupts at an observed moment: once a line of its output has the text `at`."""
    return Command(template, 137, killed_at=at, deadline=deadline)


def on_device(template: str, device: str = "device") -> Command:
    """A command typed on a device's host rather than at the admin's terminal."""
    return Command(template, on=device)


def fill(text: str, names: Mapping[str, Value]) -> str:
    """A text with its placeholders replaced.

    Raises:
        Misused: a placeholder has no value, or stands for several arguments.
    """
    return _PLACEHOLDER.sub(lambda match: _single(match.group(1), names), text)


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
