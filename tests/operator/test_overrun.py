"""A pass that takes too long makes the operator unready, and says what it waits for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fleet.operator import loop as loop_module
from fleet.operator.loop import Loop, Wakeup
from fleet.operator.metrics import Metrics
from fleet.operator.readiness import Readiness
from fleet.operator.store import Store
from tests.support.waiting import eventually


class Slow:
    """StateReader that is read as long as a test likes, and hands that carry out nothing."""

    def __init__(self) -> None:
        self.waits_for = ""
        self.read_over = asyncio.Event()

    async def read(self) -> bool:
        self.waits_for = "the keys of device-info"
        await self.read_over.wait()
        return True

    async def settle_secrets(self) -> None:
        """No deployment takes one."""

    async def ask(self) -> None:
        """NATS answers at once."""

    def troubled(self, *_: object) -> None:
        """Nothing is."""

    async def carry_out(self, _plan: object, _trouble: object) -> frozenset[object]:
        """Nothing is to be done, and nothing fails."""
        return frozenset()


def test_an_overrun_pass_is_told_and_settled_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_LONGEST_PASS", 0.05)

    async def run() -> None:
        slow, readiness = Slow(), Readiness("reconcile")
        part = cast("Any", slow)
        work = asyncio.create_task(Loop(Wakeup(), Store(3), part, part, readiness, Metrics(), 30).run())
        await eventually(lambda: "reconcile in time" in readiness.reason(), "it is unready")
        assert "waits for the keys of device-info" in readiness.reason()
        slow.read_over.set()
        await eventually(lambda: not readiness.reason(), "it is ready again")
        work.cancel()

    asyncio.run(run())
