"""Ending sessions takes longer than a pass may, so each device's has a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from fleet.contract.errors import FleetError, why
from fleet.operator.reconcile.actions import Kick
from fleet.operator.sessions import Sessions
from fleet.operator.store import Store
from fleet.process.backoff import Backoff

log = structlog.get_logger()

_AT_ONCE = 8
"""Devices whose sessions are looked for at the same time: each is a question to every server about every connection."""
_FIRST_RETRY, _LONGEST_RETRY = 0.5, 2.0


class SessionDropper:
    """The tasks under way, by device."""

    def __init__(self, sessions: Sessions, store: Store, wake: Callable[[], None]) -> None:
        """`wake` is called whenever one is over, so that the next reconcile looks what it came to."""
        self._sessions = sessions
        self._store = store
        self._wake = wake
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY)

    def begin(self, kick: Kick) -> str:
        """Begin unless this device's is under way; when that is over, the next reconcile asks again if need be."""
        if kick.device in self._under_way:
            return "under way"
        self._under_way[kick.device] = asyncio.create_task(self._drop(kick), name=f"drop {kick.device}")
        return "begun"

    async def cut(self, device: str) -> None:
        """End the sessions that are known now, before anything is denied; the device may begin others meanwhile."""
        try:
            await self._sessions.cut(device)
        except FleetError as error:
            log.warning("sessions not ended yet", device=device, why=why(error))

    async def stop(self) -> None:
        """Abandon the work in progress; the next operator finds it again by the registry."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drop(self, kick: Kick) -> None:
        try:
            async with self._limit:
                await self._sessions.drop(kick.device, banned=kick.banned)
            self._store.sessions_gone(kick.device, kick.denied)
            self._backoff.reset()
        except Exception as error:
            log.warning("sessions not ended yet", device=kick.device, why=why(error))
            await asyncio.sleep(self._backoff.next())
        finally:
            del self._under_way[kick.device]
            self._store.changes.device(kick.device)
            self._wake()
