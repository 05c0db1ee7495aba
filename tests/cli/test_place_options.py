"""Each field of `PlaceOptions` is an option of `fleet server install`, and what is given for it reaches the place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from fleet.cli.place_options import with_place_options
from fleet.cli.server import app
from fleet.topology.place_options import PlaceOptions

FIELDS = msgspec.structs.fields(PlaceOptions)


def typer_of(seen: list[tuple[str, PlaceOptions]]) -> typer.Typer:
    made = typer.Typer()

    @made.command()
    @with_place_options
    def install(issuer: str = "", *, options: PlaceOptions) -> None:
        seen.append((issuer, options))

    return made


def test_every_field_is_an_option_of_the_install() -> None:
    group: Any = typer.main.get_command(app)
    options = {one.name: one for one in group.commands["install"].params}
    assert {field.name for field in FIELDS} <= set(options)
    assert {field.name: options[field.name].default for field in FIELDS} == {one.name: one.default for one in FIELDS}
    assert all(options[field.name].help for field in FIELDS)


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        ((), {}, PlaceOptions()),
        (("--nats-replicas", "3", "--web"), {}, PlaceOptions(nats_replicas=3, web=True)),
        ((), {"FLEET_IMAGE": "fleet:1", "FLEET_POD_USER": "7"}, PlaceOptions(image="fleet:1", user=7)),
    ],
)
def test_what_is_given_reaches_the_place(words: tuple[str, ...], env: dict[str, str], expected: PlaceOptions) -> None:
    seen: list[tuple[str, PlaceOptions]] = []
    result = CliRunner().invoke(typer_of(seen), ["--issuer", "here", *words], env=env)
    assert (result.exit_code, seen) == (0, [("here", expected)])


def test_a_bound_of_the_model_is_kept() -> None:
    result = CliRunner().invoke(typer_of([]), ["--user", "0"])
    assert result.exit_code == 2
