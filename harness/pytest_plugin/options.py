"""The options of the pytest plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.pytest_plugin.numbers import numbers


# A help text says what is chosen, the values, and the default; every option has a metavar.
def add(parser: pytest.Parser) -> None:
    """Add them, under one prefix."""
    group = parser.getgroup("fleet", "fleet: where scenarios run")
    group.addoption(
        "--fleet-target",
        metavar="TARGET",
        default=None,
        help="where to run: embedded, node, k3d, staging:FILE or production:FILE (environment: FLEET_TARGET; default: "
        "embedded, or what -m asks for)",
    )
    group.addoption(
        "--fleet-keep",
        metavar="WHEN",
        nargs="?",
        choices=("always", "failed"),
        const="always",
        help="let worlds live on after the run, and say how to enter them: always, or failed (if a test of the worker "
        "failed). A virtual machine stays as its failed test left it (default: never; without WHEN: always)",
    )
    group.addoption(
        "--fleet-lab",
        metavar="FILE",
        type=Path,
        default=None,
        help="on the target embedded: a file with the boards that -m pi may set up as devices (default: none)",
    )
    group.addoption(
        "--fleet-resume",
        metavar="FILE",
        type=Path,
        default=None,
        help="leave out the tests that FILE says have passed, and add to it each that passes (default: run all)",
    )
    group.addoption(
        "--fleet-seed",
        metavar="NUMBER",
        type=int,
        default=13,
        help="what a hostile device, and cuts of a power, are drawn from; the same makes the same (default: 13)",
    )
    group.addoption(
        "--fleet-cuts", metavar="FIRST-LAST", type=numbers, default="1-12", help="which cuts are played (default: 1-12)"
    )
