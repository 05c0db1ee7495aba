"""Health checks as the real engine runs them (Docker, `HEALTHCHECK`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from harness.doubles.engine.process import Process
from harness.doubles.engine.records import Health, HealthCheck, HealthLog, now

_NANOSECOND = 1e-9
_DEFAULT = 30 * 10**9
_KEPT = 5


def command(check: HealthCheck | None) -> list[str]:
    """What a health check runs; empty for none."""
    test = (check.test if check else None) or ["NONE"]
    if test[0] == "CMD-SHELL":
        return ["/bin/sh", "-c", test[1]]
    return test[1:] if test[0] == "CMD" else []


async def watch(process: Process, check: HealthCheck, health: Health, changed: Callable[[], None]) -> None:
    """Check for as long as the process lives; `changed` is called when the status does."""
    started = time.monotonic()
    interval, timeout = (check.interval or _DEFAULT) * _NANOSECOND, (check.timeout or _DEFAULT) * _NANOSECOND
    while True:
        await asyncio.sleep(interval)
        begun = now()
        seen = await process.check(command(check), timeout)
        health.log = [*health.log, HealthLog(begun, now(), seen.exit_code, seen.output)][-_KEPT:]
        before = health.status
        if seen.exit_code == 0:
            health.failing_streak, health.status = 0, "healthy"
        elif before != "starting" or time.monotonic() - started >= check.start_period * _NANOSECOND:
            health.failing_streak += 1
            if health.failing_streak >= (check.retries or 3):
                health.status = "unhealthy"
        if health.status != before:
            changed()
