"""A world without servers: commands are real processes, everything else is remembered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from harness.errors import IdentityProviderDown, WorldBroken
from harness.scenario.redact import Redactor
from harness.scenario.run import Run
from harness.world.world import World


class FakeWorld:
    target = "fake"
    engine = "none"

    def __init__(self, root: Path) -> None:
        self.turns: list[bool] = []
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

    def take_turn(self, *, alone: bool = False) -> None:
        self.turns.append(alone)

    def judge(self, error: Exception) -> Exception:
        return WorldBroken("\n".join(self.wrong), next_step="mend it") if self.wrong else error


class FakeHost:
    def __init__(self) -> None:
        self.env = {"PATH": os.environ["PATH"], "WHERE": "device"}


def run_in(root: Path, **names: str) -> Run:
    world = cast("World", FakeWorld(root))
    values = {"device": "pi-1", **names}
    return Run(world, dict(values), root, terminals={"device": FakeHost()}, redact=Redactor(["very-secret-value"]))


def fake(run: Run) -> FakeWorld:
    return cast("FakeWorld", run.world)
