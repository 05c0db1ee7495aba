"""An operator that hangs is told as away, and its return is seen."""

from __future__ import annotations

import asyncio
import time

from fleet.web.messages import OperatorHeartbeat, PartState, Standing
from fleet.web.operator_heartbeat import HeartbeatMonitor
from fleet.web.source import CALLOUT, OPERATOR, Source, Sources


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


def test_an_operator_that_is_not_ready_is_another_thing_than_one_that_is_silent() -> None:
    """Each with its age: since it was ready, and since it was heard. What it asks for is then not known either."""
    clock = [1000.0]
    sources = Sources(lambda: clock[0])
    silent = asyncio.Event()

    async def play() -> None:
        monitor = HeartbeatMonitor(sources, timeout=0.05)
        monitor.told(OperatorHeartbeat())
        monitor.received()
        clock[0] = 1010.0
        keyless = PartState(Standing.UNREADY, "the issuer's keys are not loaded")
        monitor.told(OperatorHeartbeat("reconcile: not yet done", keyless))
        monitor.received()
        unready = Source(OPERATOR, "reconcile: not yet done", 1000.0, Standing.UNREADY)
        assert sources.known[OPERATOR] == unready
        assert sources.known[CALLOUT] == Source(CALLOUT, keyless.why, 1000.0, Standing.UNREADY)
        clock[0] = 1020.0
        monitor.received()
        assert sources.known[OPERATOR] == unready, "a line of another kind is no word about that"
        sources.changed = lambda: silent.set() if sources.known[CALLOUT].standing is Standing.UNKNOWN else None
        watching = asyncio.create_task(monitor.watch())
        async with asyncio.timeout(60):
            await silent.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert (sources.known[OPERATOR].standing, sources.known[OPERATOR].since) == (Standing.SILENT, 1020.0)
        assert sources.known[CALLOUT].since == 1010.0, "since it was heard of"
        clock[0] = 1060.0
        monitor.told(OperatorHeartbeat())
        monitor.received()
        assert (sources.known[OPERATOR].why, sources.known[CALLOUT].why) == ("", "")

    asyncio.run(play())
