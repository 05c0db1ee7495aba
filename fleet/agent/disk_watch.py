"""Tells what uses the engine's disk, and which volumes are there: now and then, and when containers come or go."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from fleet.agent.answers import EngineDown, EngineRefused, Usage
from fleet.agent.disk import Volumes, usage
from fleet.agent.engine import Engine
from fleet.agent.volumes import mounted, volumes_of
from fleet.contract.containers import DEVICE_LABEL
from fleet.contract.disk import DiskUsage
from fleet.contract.owner import Owner

_INTERVAL = 300.0
"""Seconds between two measurements: the engine reads all volumes for one."""
_SETTLES = 1.0
"""Seconds after a look in which what changes is not looked at yet."""


class DiskWatch:
    """The disk of a device whose identities are `owners`, the present one first."""

    def __init__(self, engine: Engine, owners: Sequence[Owner], report: Callable[[DiskUsage], None]) -> None:
        self._engine = engine
        self._owners = owners
        self._report = report
        self._measured: Usage | None = None
        self._measure_at = 0.0
        self._wake = asyncio.Event()

    def changed(self) -> None:
        """Containers, or volumes, came or went."""
        self._wake.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            self._wake.clear()
            with contextlib.suppress(EngineDown, EngineRefused):  # it is asked again
                await self._look()
            await asyncio.sleep(_SETTLES)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await self._wake.wait()

    async def _look(self) -> None:
        now = time.monotonic()
        if self._measured is None or now >= self._measure_at:
            self._measured = await self._engine.usage()
            self._measure_at = now + _INTERVAL
        there = await volumes_of(self._engine, self._owners)
        devices = {volume.owner.device for volume in there}
        containers = [
            container for name in devices for container in await self._engine.containers(f"{DEVICE_LABEL}={name}")
        ]
        self._report(
            usage(await self._engine.folder(), self._measured, Volumes(there, mounted(containers)), self._owners[0])
        )
