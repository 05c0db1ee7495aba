"""Two devices on raw connections, of which one floods: it is shut out, and the other is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fleet.contract.objects import DEVICES
from harness.devices.hostile.raw_connection import RawConnection
from tests.support.callout_stand_in import callout_stand_in
from tests.support.operator import Operator
from tests.support.waiting import eventually


def expect_shut_out(
    operator: Operator,
    bad: str,
    good: str,
    flood: Callable[[RawConnection], Awaitable[None]],
    reason: str = "Throttled",
) -> None:
    """Log both in, let `flood` work on the connection of `bad`, and expect its quarantine."""

    async def run() -> None:
        async with callout_stand_in(operator.nats), asyncio.timeout(240):
            lines = [await RawConnection.open(operator.nats.url, operator.nats.tls.ca) for _ in range(2)]
            try:
                for line, device in zip(lines, (bad, good), strict=True):
                    assert await line.log_in(f"sub-{device}")
                await flood(lines[0])
                await eventually(lambda: lines[0].over, "the session of the device that floods ended")
                assert not lines[1].over
            finally:
                for line in lines:
                    line.close()

    asyncio.run(run())
    operator.await_condition(DEVICES, bad, "Quarantined", ("True", reason), timeout=30)
    assert operator.condition(DEVICES, good, "Quarantined") is None
