"""The runbook's page is the scenarios', and every scenario can be printed and played."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from fleet.contract.objects import FleetDeployment
from fleet.contract.written import parse_written
from harness.scenario.command_line import placeholders
from harness.scenario.scenario import Scenario
from scenarios import BOOK, fields
from scenarios.book import EXAMPLES, PAGE, render

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == render(), "docs/runbook.md differs from the scenarios: run `make docs`"
    assert fields.PAGE.read_text() == fields.render(), "docs/workload.md differs from the definition: run `make docs`"


def test_the_page_of_fields_has_each_field_and_its_example_is_taken() -> None:
    text = fields.PAGE.read_text()
    for path in ("workload.health.startPeriod", "selector.matchExpressions[].operator", "strategy.maxUnavailable"):
        assert f"| `{path}` |" in text
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example
    made = parse_written(example[1].encode(), FleetDeployment, "web.yaml", next_step="correct the page")
    assert made.spec.strategy.max_unavailable == 2


def test_ids_and_titles_are_unique() -> None:
    for names in ([scenario.id for scenario in BOOK], [scenario.title for scenario in BOOK]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("scenario", BOOK, ids=lambda scenario: scenario.id)
def test_every_placeholder_has_an_example(scenario: Scenario) -> None:
    used = {name for step in scenario.steps for command in step.commands for name in command.placeholders()}
    used |= {name for step in scenario.steps for content in step.files.values() for name in placeholders(content)}
    assert used <= set(EXAMPLES)


@pytest.mark.parametrize("scenario", BOOK, ids=lambda scenario: scenario.id)
def test_a_scenario_uses_only_the_devices_it_needs(scenario: Scenario) -> None:
    used = {name for step in scenario.steps for command in step.commands for name in command.placeholders()}
    numbers = [int(name.removeprefix("device") or 1) for name in used if name.startswith("device")]
    assert max(numbers, default=0) <= max(scenario.devices, 1)


def test_every_scenario_is_in_the_book_and_played() -> None:
    defined = _names_of_scenarios(ROOT / "scenarios")
    played = _first_arguments(ROOT / "e2e", "play")
    assert defined <= played, f"no test plays {sorted(defined - played)}"
    assert len(defined) == len(BOOK)


def _names_of_scenarios(folder: Path) -> set[str]:
    """What is assigned a `Scenario(...)` in any module of a folder."""
    found: set[str] = set()
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and _called(node.value) == "Scenario":
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _first_arguments(folder: Path, function: str) -> set[str]:
    """The names that are passed first to calls of a function in any module of a folder."""
    return {
        node.args[0].id
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _called(node) == function and isinstance(node.args[0], ast.Name)
    }


def _called(node: ast.expr) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
