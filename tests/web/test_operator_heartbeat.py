"""An operator that hangs is told as away, and its return is seen."""

from __future__ import annotations

import asyncio
import time

from fleet.web.operator_heartbeat import HeartbeatMonitor
from fleet.web.source import OPERATOR, Sources


def test_an_operator_that_sends_nothing_is_away_since_it_was_heard_last() -> None:
    clock = [1000.0]
    sources = Sources(lambda: clock[0])
    told = asyncio.Event()
    sources.changed = told.set

    async def play() -> None:
        monitor = HeartbeatMonitor(sources, timeout=0.05)
        watching = asyncio.create_task(monitor.watch())
        monitor.received()
        clock[0] = 1060.0
        async with asyncio.timeout(60):
            await told.wait()
        away = sources.known[OPERATOR]
        assert (away.why != "", away.since) == (True, 1000.0)
        told.clear()
        monitor.received()
        assert sources.known[OPERATOR].why == ""
        assert told.is_set(), "pages are told"
        told.clear()
        async with asyncio.timeout(60):
            await told.wait()
        assert sources.known[OPERATOR].since == 1060.0, "it is noticed again"
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(play())


def test_an_operator_that_sends_is_there() -> None:
    sources = Sources(time.time)
    told: list[str] = []

    async def play() -> None:
        monitor = HeartbeatMonitor(sources, timeout=3600)
        watching = asyncio.create_task(monitor.watch())
        sources.changed = lambda: told.append("changed")
        for _ in range(20):
            monitor.received()
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(play())
    assert told == []
