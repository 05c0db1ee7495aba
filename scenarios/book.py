"""`python -m scenarios.book`: write `docs/runbook.md` and `docs/workload.md`, without running anything."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from fleet.contract.config import DEFAULT_NAMESPACE
from harness.scenario.command_line import Command, Value, fill
from harness.scenario.scenario import Scenario, Step
from scenarios import BOOK, fields

PAGE = Path(__file__).parent.parent / "docs" / "runbook.md"

EXAMPLES: dict[str, Value] = {
    "issuer": "https://id.example.org",
    "issuer_ca": "issuer-ca.pem",
    "admin_token_file": "admin.pat",
    "namespace": DEFAULT_NAMESPACE,
    "client": "2911573",
    "site": "lab",
    "deployment": "web",
    "deployment2": "job",
    "own": "mine",
    "token_id": "291157300000000001",
    "secret": "correct-horse",
    "image": "registry.example.org/web:1",
    "private_image": "registry.example.org/private/web:1",
    "registry": "registry.example.org",
    "port": "8080",
    "before": "fleet-v0.0.9/bin/fleet",
    "long_before": "fleet-v0.0.8/bin/fleet",
    "version_long_before": "v0.0.8",
    "arch": "aarch64",
    "python": "3.11",
    "release_key": "release.key",
    **{f"version_{kind}": f"v0.1.0-{kind}" for kind in ("unfit", "foreign")},
    **{f"agent_{kind}": f"fleet-agent-v0.1.0-{kind}" for kind in ("unfit", "foreign")},
    **{f"version{suffix}": f"v0.1.{number}" for number, suffix in enumerate(("", "2", "3"), start=1)},
    **{f"device{suffix}": f"pi-{number}" for number, suffix in enumerate(("", "2", "3"), start=1)},
    **{f"config{suffix}": f"pi-{number}.json" for number, suffix in enumerate(("", "2", "3"), start=1)},
    **{f"where{suffix}": ("--ssh", f"pi@pi-{number}") for number, suffix in enumerate(("", "2", "3"), start=1)},
}
"""What the page shows for each placeholder."""

_INTRO = """\
# Runbook

<!-- Written by `make docs` from scenarios/*.py; a test holds it current. Do not edit. -->

Everything an operator does, with the exact commands. Each section is a scenario of `scenarios/`, which
`./scripts/e2e-prod-shape.sh` plays against real servers; its report says which steps it has proven.

The examples say `pi-1` where a device's id stands, and `lab` for its site. Exit codes other than 0 are refusals that
the step expects.
"""

_APART = (
    "`./scripts/e2e-prod-shape.sh` does not play it, because it builds two past releases from the history of this"
    " repository. `pytest e2e/test_server_upgrade.py --fleet-target node` does.\n"
)


def render() -> str:
    """The whole page."""
    lines = [_INTRO]
    for chapter, scenarios in groupby(_by_chapter(), key=lambda it: it.chapter):
        lines.append(f"## {chapter}\n")
        for scenario in scenarios:
            lines += _section(scenario)
    return "\n".join(lines).rstrip() + "\n"


def _by_chapter() -> list[Scenario]:
    """In the order of the book, the chapters in the order of their first scenario."""
    chapters = list(dict.fromkeys(scenario.chapter for scenario in BOOK))
    return sorted(BOOK, key=lambda it: chapters.index(it.chapter))


def _section(scenario: Scenario) -> list[str]:
    head = [f"### {scenario.title}\n", f"{scenario.why}\n", f"Needs: {scenario.needs}. Scenario: `{scenario.id}`.\n"]
    if scenario.earlier:
        head.append(_APART)
    return [*head, *(line for number, step in enumerate(scenario.steps, 1) for line in _step(number, step))]


def _step(number: int, step: Step) -> list[str]:
    lines = [f"{number}. **{step.title}.** {step.expected}\n"]
    for name, content in step.files.items():
        lines.append(f"   `{name}`:\n")
        lines += _fenced(fill(content, EXAMPLES).splitlines(), "yaml" if name.endswith(".yaml") else "json")
    if step.commands:
        lines += _fenced([line for command in step.commands for line in _typed(command)], "console")
    return lines


def _typed(command: Command) -> list[str]:
    line = f"$ {command.text(EXAMPLES)}"
    if command.sso:
        return [line, "# sign in at the address it prints, and confirm the code"]
    if command.stays:
        return [line, "# where it forwards a port it goes on until Ctrl-C: type the rest in another terminal"]
    if command.killed_at:
        return [line, f"# killed (SIGKILL) once it says «{fill(command.killed_at, EXAMPLES)}»"]
    if command.exit_code:
        texts = ", ".join(f"«{fill(text, EXAMPLES)}»" for text in command.contains)
        return [line, f"# exit code {command.exit_code}: {texts}"]
    return [line]


def _fenced(lines: list[str], language: str) -> list[str]:
    return [f"   ```{language}", *(f"   {line}".rstrip() for line in lines), "   ```\n"]


def main() -> int:
    """Write the pages."""
    for page, text in ((PAGE, render()), (fields.PAGE, fields.render())):
        page.write_text(text)
        print(f"wrote {page}", file=sys.stderr)  # noqa: T201 - this is the command's answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
