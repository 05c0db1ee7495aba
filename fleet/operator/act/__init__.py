"""Carrying out what a reconcile decided, in NATS and in Kubernetes.

Stages run one after the other, the actions of a stage at once. A NATS error ends the pass, for what comes later builds
on it; writes to Kubernetes are handed to a writer of their own, for which no pass waits. Every success goes into the
store at once, so that the next reconcile sees it without waiting for an echo.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby

from fleet.contract.errors import FleetError
from fleet.operator.act.drops import Drops
from fleet.operator.act.keys import KeyAction, Keys
from fleet.operator.act.queue import OBJECT_ACTIONS
from fleet.operator.act.writer import Writer
from fleet.operator.metrics import Metrics
from fleet.operator.reconcile.actions import Action, Kick, stage

_AT_ONCE = 64
"""Writes on their way at the same time."""


class Actor:
    """The hands of the operator."""

    def __init__(self, keys: Keys, writer: Writer, drops: Drops, metrics: Metrics) -> None:
        """Each of the three does its kind of action."""
        self._keys = keys
        self._writer = writer
        self._drops = drops
        self._metrics = metrics
        self._limit = asyncio.Semaphore(_AT_ONCE)

    async def carry_out(self, actions: Sequence[Action]) -> None:
        """Do all of it, in order; what is to be written to Kubernetes is on its way when this returns.

        Raises:
            FleetError: NATS did not answer, or refused a key.
        """
        writes = [action for action in actions if isinstance(action, OBJECT_ACTIONS)]
        others = [action for action in actions if not isinstance(action, OBJECT_ACTIONS)]
        for _, group in groupby(others, key=stage):
            await self._together(list(group))
        self._writer.want(writes)

    async def _together(self, batch: Sequence[KeyAction | Kick]) -> None:
        outcomes = await asyncio.gather(*(self._counted(action) for action in batch), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _counted(self, action: KeyAction | Kick) -> None:
        kind = type(action).__name__
        async with self._limit:
            try:
                outcome = await self._one(action)
            except FleetError:
                self._metrics.actions.labels(kind, "failed").inc()
                raise
        self._metrics.actions.labels(kind, outcome).inc()

    async def _one(self, action: KeyAction | Kick) -> str:
        if isinstance(action, Kick):
            return self._drops.begin(action)
        await self._keys.do(action)
        return "done"
