"""Whether the operator lives: it sends a line now and then, and one that hangs sends none."""

from __future__ import annotations

import asyncio

from fleet.web.messages import HEARTBEAT_INTERVAL
from fleet.web.source import OPERATOR, Sources

_MISSED = 3
"""Heartbeats that do not come before the operator counts as away."""


class HeartbeatMonitor:
    """The operator's, which goes into `Sources`."""

    def __init__(self, sources: Sources, timeout: float = _MISSED * HEARTBEAT_INTERVAL) -> None:
        """`timeout` is the seconds without a line after which the operator counts as away."""
        self._sources = sources
        self._timeout = timeout
        self._received = asyncio.Event()

    def received(self) -> None:
        """The operator has sent a line."""
        self._sources.mark_available(OPERATOR)
        self._received.set()

    async def watch(self) -> None:
        """Notice when nothing comes, until cancelled."""
        while True:
            self._received.clear()
            try:
                async with asyncio.timeout(self._timeout):
                    await self._received.wait()
            except TimeoutError:
                why = f"it has sent no sign of life for {self._timeout:g} s: what it decides may be late"
                self._sources.mark_unavailable(OPERATOR, why)
                await self._received.wait()
