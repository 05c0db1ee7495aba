"""Hands over what is ordered. What needs its secrets opened follows when they are, and delays nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from fleet.agent.desired_reader import Told
from fleet.agent.desired_state import DesiredState
from fleet.agent.sealing import Sealing, noted, waiting
from fleet.agent.unseal import Opened
from fleet.contract.volumes import VolumeOrder

_PATIENCE = 5.0
"""Seconds for which all that is ordered waits for secrets, so that it is handed over at once where they open soon."""

Heard = Callable[[DesiredState, tuple[VolumeOrder, ...]], None]
"""Takes what is to run, and the orders to remove volumes."""


class Openings:
    """One at a time. `known` is the present desired state, `heard` takes a new one."""

    def __init__(self, sealing: Sealing, known: Callable[[], DesiredState], heard: Heard) -> None:
        self._sealing = sealing
        self._known = known
        self._heard = heard
        self._orders = Told({}, ())
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def take(self, orders: Told) -> None:
        """Hand over the orders; while `run` opens secrets of earlier ones, it is done at once without those."""
        self._orders = orders
        if self._sealing.unopened(orders.desired_state, self._known()) and self._idle.is_set():
            self._idle.clear()
            self._wanted.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._idle.wait()
                return
        self._hand_over({}, {})

    async def run(self) -> None:
        """Open what is to be opened, until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                await self._open()
                self._idle.set()
        finally:
            self._wanted.clear()
            self._idle.set()

    async def _open(self) -> None:
        tried: DesiredState | None = None
        while tried is not self._orders.desired_state:
            tried = self._orders.desired_state
            if wanted := self._sealing.unopened(tried, self._known()):
                self._hand_over(await self._sealing.opened(wanted), tried)

    def _hand_over(self, opened: Mapping[str, Opened], of: DesiredState) -> None:
        """The last orders, with what was opened of earlier ones as far as it is the same."""
        desired_state, known = self._orders.desired_state, self._known()
        still = {name: opening for name, opening in opened.items() if name in desired_state}
        still = {name: opening for name, opening in still.items() if desired_state[name].sealed == of[name].sealed}
        missing = self._sealing.unopened(desired_state, known).keys() - still.keys()
        fresh = {
            name: (
                waiting(desired, known.get(name))
                if name in missing
                else noted(desired, still.get(name), known.get(name))
            )
            for name, desired in desired_state.items()
        }
        self._heard(fresh, self._orders.remove_volumes)
