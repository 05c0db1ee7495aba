"""Turns the fields of `PlaceOptions` into options of a command: each is declared once, there."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, cast, get_type_hints

import msgspec
import typer

from fleet.topology.place_options import PlaceOptions


def with_place_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field, in the place of its parameter `options: PlaceOptions`."""
    fields = tuple(_parameters())
    known = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:  # noqa: ANN401 - what the options' types say
        options = PlaceOptions(**{field.name: given.pop(field.name) for field in fields})
        command(**given, options=options)

    found = [one for name in known for one in (fields if name.name == "options" else (name,))]
    shown = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in found]
    changed = cast("Any", wrapped)
    changed.__signature__ = inspect.Signature(shown)
    changed.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return wrapped


def _parameters() -> Iterator[inspect.Parameter]:
    hints = get_type_hints(PlaceOptions, include_extras=True)
    for field in msgspec.structs.fields(PlaceOptions):
        kind, meta = hints[field.name].__args__[0], cast("msgspec.Meta", hints[field.name].__metadata__[0])
        extra = meta.extra or {}
        words = (f"--{field.name}",) if kind is bool else ()  # without a `--no-` beside it
        option = typer.Option(
            *words,
            envvar=extra["variable"] or f"FLEET_{field.name.upper()}",
            metavar=extra["metavar"] or None,
            min=extra["least"],
            help=meta.description,
        )
        annotation = Annotated[kind, option]
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation
        )
