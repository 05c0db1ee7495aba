"""The example of the guide is a scenario that can be played and printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from harness.scenario.command_line import placeholders
from harness.scenario.scenario import Scenario
from scenarios.book import EXAMPLES

GUIDE = Path(__file__).parents[2] / "docs" / "scenarios.md"


def example(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """The scenario of the page's code block."""
    found = re.search(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, "the page has no code block"
    module = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)  # a dataclass looks up its module
    exec(compile(found[1], str(GUIDE), "exec"), module.__dict__)
    made: Scenario = module.__dict__["change_port"]
    return made


def test_the_example_is_a_scenario_with_known_placeholders(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = example(monkeypatch)
    assert [step.title for step in scenario.steps] == ["Publish it on a port", "Name a port that cannot be"]
    used = {name for step in scenario.steps for command in step.commands for name in placeholders(command.template)}
    assert used <= set(EXAMPLES)
