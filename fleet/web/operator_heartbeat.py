"""Whether the operator lives and is ready, and what it says of the callout: one that hangs sends nothing."""

from __future__ import annotations

import asyncio

from fleet.web.messages import HEARTBEAT_INTERVAL, OperatorHeartbeat, PartState, Standing
from fleet.web.source import CALLOUT, OPERATOR, Sources

_MISSED = 3
"""Heartbeats that do not come before the operator counts as away."""
_NOT_ASKED = "the operator asks for its state, and does not answer"


class HeartbeatMonitor:
    """The operator's, which goes into `Sources`."""

    def __init__(self, sources: Sources, timeout: float = _MISSED * HEARTBEAT_INTERVAL) -> None:
        """`timeout` is the seconds without a line after which the operator counts as away."""
        self._sources = sources
        self._timeout = timeout
        self._unready = ""
        self._received = asyncio.Event()

    def told(self, heartbeat: OperatorHeartbeat) -> None:
        """Keep what the operator says of itself, and pass on what it says of the callout."""
        self._unready = heartbeat.unready
        self._mark(CALLOUT, heartbeat.callout)

    def received(self) -> None:
        """The operator has sent a line."""
        self._mark(OPERATOR, PartState(Standing.UNREADY, self._unready) if self._unready else PartState())
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
                self._sources.mark_unavailable(CALLOUT, _NOT_ASKED, Standing.UNKNOWN)
                await self._received.wait()

    def _mark(self, part: str, state: PartState) -> None:
        if state.standing is Standing.READY:
            self._sources.mark_available(part)
        else:
            self._sources.mark_unavailable(part, state.why, state.standing)
