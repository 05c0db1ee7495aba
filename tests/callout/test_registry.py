"""What the registry says while it cannot be read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from fleet.callout import registry as module
from fleet.callout.metrics import Metrics
from fleet.callout.registry import Registry
from fleet.contract.errors import Unreachable

if TYPE_CHECKING:
    from fleet.contract.wire import Identity
    from fleet.nats.bus import KV


class Bucket:
    """Fails as it is told, then can be read."""

    def __init__(self, *failures: str) -> None:
        self._failures = [*failures]
        self.over = asyncio.Event()

    async def follow(self, _keys: str, _change: object) -> None:
        pass

    async def read_all(self) -> list[object]:
        if not self._failures:
            self.over.set()
        elif why := self._failures.pop(0):
            raise Unreachable(why, next_step="wait")
        return []


def test_why_it_cannot_be_read_is_told_once_and_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_RETRY", 0)
    monkeypatch.setattr(module, "REREAD", 0)
    bucket = Bucket("no stream", "no stream", "no stream", "no answer", "no answer", "", "no answer")

    async def keep() -> None:
        keeping = asyncio.create_task(Registry(Metrics()).keep(cast("KV[Identity]", bucket)))
        await bucket.over.wait()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    with capture_logs() as logs:
        asyncio.run(asyncio.wait_for(keep(), 10))
    assert [line["why"] for line in logs] == ["no stream", "no answer", "no answer"]
