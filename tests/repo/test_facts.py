"""Each text of the contract is written once: who needs it imports it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "fleet" / "contract"
ROOMS = ("fleet", "harness", "scenarios", "images", "reports")
_A_NAME = re.compile(r".*[./-].*")
"""A text without any of these is a word of the language, such as `heartbeat`."""
_SHORT = 6

OTHERS = {
    ("fleet/launcher/ender.py", "io.fleet.device"): "the launcher imports the standard library only",
    ("fleet/launcher/ender.py", "io.fleet.server"): "the launcher imports the standard library only",
    ("fleet/callout/main.py", "fleet-callout"): "a program's name",
    ("images/product.py", "fleet-callout"): "a program's name",
    ("fleet/web/cluster.py", "fleet-web"): "a program's name",
    ("fleet/topology/kubernetes/network.py", "fleet-web"): "what leads to the page, not its account",
    ("fleet/install/identities.py", "fleet-server"): "a key at the identity provider",
    ("harness/engine/dockerd.py", "docker.io"): "a package of Debian",
}
"""Texts that are the same as one of the contract by chance, and why."""


def texts(source: Path) -> Iterator[str]:
    """Every text of a module that is no docstring."""
    tree = ast.parse(source.read_text())
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def constants() -> set[str]:
    """The texts that the contract gives a name."""
    found: set[str] = set()
    for source in CONTRACT.glob("*.py"):
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
                text = node.value.value
                if isinstance(text, str) and len(text) >= _SHORT and _A_NAME.match(text):
                    found.add(text)
    return found


def test_a_text_of_the_contract_is_written_nowhere_else() -> None:
    known = constants()
    again: set[tuple[str, str]] = set()
    for room in ROOMS:
        for source in (ROOT / room).rglob("*.py"):
            if source.is_relative_to(CONTRACT) or "node_modules" in source.parts:
                continue
            again |= {(str(source.relative_to(ROOT)), text) for text in texts(source) if text in known}
    assert again == OTHERS.keys(), "import them from fleet.contract, or say in OTHERS why they are something else"


def test_the_look_finds_texts() -> None:
    """A test of the test."""
    assert {"fleet-system", "io.fleet.device", "/run/docker.sock"} <= constants()
