"""The commands of `fleet` by name: each is imported when it is asked for, since importing all takes twice as long."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

import typer
import typer.core
import typer.main

_FROM = {
    "server": "fleet.cli.server:app",
    "device": "fleet.cli.device:app",
    "deployment": "fleet.cli.deployment:app",
    "agent": "fleet.cli.agent:app",
    "secrets": "fleet.cli.secrets:app",
    "login": "fleet.cli.login:login",
    "doctor": "fleet.cli.doctor:doctor",
    "support-bundle": "fleet.cli.support:support_bundle",
    "web": "fleet.cli.web:web",
}
"""In the order of `fleet --help`: the module of each, and the name of its function or its group there."""


_Command = typer.core.TyperCommand | typer.core.TyperGroup


class _Commands(Mapping[str, _Command]):
    """What typer finds commands in."""

    def __getitem__(self, name: str) -> _Command:
        return _load(name, _FROM[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_FROM)

    def __len__(self) -> int:
        return len(_FROM)


class LazyGroup(typer.core.TyperGroup):
    """A group that has the commands of `fleet`."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - they are typer's
        super().__init__(**options)
        self.commands = cast("Any", _Commands())  # nothing adds one later


@functools.cache
def _load(name: str, source: str) -> _Command:
    module, _, attribute = source.partition(":")
    found = getattr(import_module(module), attribute)
    only = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        only.add_typer(found, name=name)
    else:
        only.command(name)(found)
    return cast("_Command", typer.main.get_group(only).commands[name])
