"""Who takes little is left alone as long as it is more than nothing."""

from __future__ import annotations

import asyncio
from typing import cast

from fleet.web.stall import StallWatch


class Transport:
    """Of what it holds, so many bytes are taken between two looks."""

    def __init__(self, *left: int) -> None:
        self._left = list(left)
        self.looks = 0

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


def looks_until_dropped(*left: int) -> int:
    transport = Transport(*left)

    async def run() -> None:
        dropped = asyncio.Event()
        watch = StallWatch(cast("asyncio.WriteTransport", transport), dropped.set, 0.01)
        watch.begin()
        await asyncio.wait_for(dropped.wait(), 30)

    asyncio.run(run())
    return transport.looks


def test_nothing_taken_is_a_stall() -> None:
    assert looks_until_dropped(500_000) == 2


def test_slow_is_no_stall() -> None:
    # A look after the beginning, and of each that sees progress the next one begins.
    assert looks_until_dropped(500_000, 400_000, 400_000, 300_000, 300_000, 299_000) == 6


def test_what_has_room_again_is_left_alone() -> None:
    async def run() -> bool:
        dropped = asyncio.Event()
        watch = StallWatch(cast("asyncio.WriteTransport", Transport(500_000)), dropped.set, 0.01)
        watch.begin()
        watch.end()
        other = StallWatch(cast("asyncio.WriteTransport", Transport(1)), dropped.clear, 0.02)
        other.begin()
        await asyncio.wait({asyncio.create_task(dropped.wait())}, timeout=0.2)
        return dropped.is_set()

    assert not asyncio.run(run())
