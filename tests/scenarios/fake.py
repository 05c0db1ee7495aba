"""A world without servers: commands are real processes, everything else is remembered."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import IdentityProviderDown
from harness.redact import Redactor
from harness.runbook import Run


class FakeWorld:
    target = "fake"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {"PATH": os.environ["PATH"], "WHERE": "admin"}
        self.wrong: list[str] = []
        self.approved: list[str] = []
        self.issuer_down = False

    def approve(self, user_code: str) -> None:
        if self.issuer_down:
            raise IdentityProviderDown("the issuer does not answer", next_step="start it")
        self.approved.append(user_code)
        (self.root / "approved").touch()

    def problems(self) -> list[str]:
        return self.wrong


class FakeHost:
    def __init__(self) -> None:
        self.env = {"PATH": os.environ["PATH"], "WHERE": "device"}


def run_in(root: Path, **names: str) -> Run:
    world = FakeWorld(root)
    values = {"device": "pi-1", **names}
    return Run(world, dict(values), root, terminals={"device": FakeHost()}, redact=Redactor(["very-secret-value"]))
