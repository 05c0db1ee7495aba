"""Each command that the page offers is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from typer.main import get_command

from fleet.cli.main import app
from fleet.cli.reasons import DEPLOYMENTS, DEVICES, UPGRADES, Table
from fleet.cli.suggestions import for_deployment, for_device, for_server


def parsed(line: str) -> None:
    """Parse a command to its end, without running it."""
    command: Any = get_command(app)
    words = shlex.split(line)[1:]
    context = typer.Context(command, info_name="fleet")
    while hasattr(command, "resolve_command"):
        _, found, words = command.resolve_command(context, words)
        assert found is not None, line
        command, context = found, typer.Context(found, info_name=found.name, parent=context)
    command.parse_args(context, list(words))


@pytest.mark.parametrize("namespace", ["fleet-system", "elsewhere"])
def test_the_command_line_takes_them(namespace: str) -> None:
    every = [
        *for_device("pi-1", tuple(DEVICES), namespace, ("web",)),
        *for_deployment("web", namespace, failing="pi-1", may_go_back=True),
        *for_server(namespace),
    ]
    ours = [line for line in every if line.startswith("fleet ")]
    assert len(ours) > 5
    for line in ours:
        parsed(line)
        setup = line.startswith("fleet device setup")
        assert setup or ("--namespace elsewhere" in line) == (namespace == "elsewhere"), line
    with pytest.raises(typer.TyperException):
        parsed("fleet device release pi-1 --nonsense")


_WITH_A_VOLUME = {"NotAnswered"}
"""Reasons whose command takes the name of a volume, which the message has."""


@pytest.mark.parametrize("table", [DEVICES, UPGRADES, DEPLOYMENTS], ids=["devices", "upgrades", "deployments"])
def test_the_command_that_a_next_step_names_is_offered_with_its_names(table: Table) -> None:
    for reason, advice in table.items():
        for_one = for_device("pi-1", (reason,), "fleet-system")
        for_all = for_deployment("web", "fleet-system", reason, may_go_back=True)
        offered = for_all if table is DEPLOYMENTS else for_one
        for line in offered:
            if line.startswith("fleet "):
                parsed(line)
        named = re.findall(r"`(fleet [a-z -]+)`", advice.next_step) if reason not in _WITH_A_VOLUME else []
        verbs = {" ".join(one.split()[:3]) for one in named}
        assert not verbs or any(line.startswith(tuple(verbs)) for line in offered), (reason, offered)


def test_what_helps_most_comes_first() -> None:
    assert for_device("pi-1", ("Flooding",), "fleet-system")[0] == "fleet device release pi-1"
    assert for_device("pi-1", (), "fleet-system")[0] == "fleet device show pi-1"
