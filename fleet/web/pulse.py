"""Whether the operator lives: it sends a line now and then, and one that hangs sends none."""

from __future__ import annotations

import asyncio

from fleet.web.messages import BEAT
from fleet.web.source import OPERATOR, Sources

_MISSED = 3
"""Beats that do not come before the operator counts as away."""


class Pulse:
    """The operator's, which goes into `Sources`."""

    def __init__(self, sources: Sources, patience: float = _MISSED * BEAT) -> None:
        """`patience` is the seconds without a line after which the operator counts as away."""
        self._sources = sources
        self._patience = patience
        self._heard = asyncio.Event()

    def heard(self) -> None:
        """The operator has sent a line."""
        self._sources.back(OPERATOR)
        self._heard.set()

    async def watch(self) -> None:
        """Notice when nothing comes, until cancelled."""
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(self._patience):
                    await self._heard.wait()
            except TimeoutError:
                why = f"it has sent no sign of life for {self._patience:g} s: what it decides may be late"
                self._sources.away(OPERATOR, why)
                await self._heard.wait()
