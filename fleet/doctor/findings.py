"""The result of a check: one sentence, and what to do next if something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import msgspec

from fleet.contract.errors import FleetError
from fleet.process.failures import in_words


class State(Enum):
    """The state of a component."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True):
    """One check and its result."""

    check: str
    state: State
    says: str
    next: str = ""


class Worrying(FleetError):  # noqa: N818 - a check says so of what works today, and will not for long
    """It works, but somebody should act."""


def lines(findings: Sequence[Finding]) -> list[str]:
    """The findings for a person: one line for each, and one for what to do next."""
    width = max(len(finding.check) for finding in findings)
    shown: list[str] = []
    for finding in findings:
        shown.append(f"{finding.check:<{width}}  {finding.state.value:<7}  {finding.says}")
        shown += [f"{'':<{width}}  next: {finding.next}"] if finding.next else []
    return shown


def found(name: str, check: Callable[[], str]) -> Finding:
    """Run one check; `check` returns what is well, or raises a `FleetError`. Any other error is its finding, too."""
    try:
        return Finding(name, State.OK, check())
    except Worrying as error:
        return Finding(name, State.WARNING, error.what, error.next_step)
    except FleetError as error:
        return Finding(name, State.FAILED, error.what, error.next_step)
    except Exception as error:  # what nobody foresaw in one check must not hide what the others say
        return Finding(name, State.FAILED, f"the check itself failed: {in_words(error)}", "report it")
