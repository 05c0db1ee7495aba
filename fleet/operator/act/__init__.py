"""Carrying out what a reconcile decided, in NATS and in Kubernetes.

Stages run one after the other, the actions of a stage at once. A NATS error ends the pass, for what comes later builds
on it; an object that Kubernetes refuses delays only that object. Every success goes into the store at once, so that
the next reconcile sees it without waiting for an echo.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby

from fleet.contract.errors import FleetError
from fleet.operator.act.drops import Drops
from fleet.operator.act.keys import Keys
from fleet.operator.act.objects import OBJECT_ACTIONS, Objects
from fleet.operator.metrics import Metrics
from fleet.operator.reconcile.actions import Action, AddFinalizer, Kick, stage

_AT_ONCE = 64
"""Writes on their way at the same time."""
_OBJECTS_PER_PASS = 32
"""Kubernetes writes of one pass: each takes some 2 ms, and a change in NATS must not wait for a thousand of them."""


class Actor:
    """The hands of the operator."""

    def __init__(self, keys: Keys, objects: Objects, drops: Drops, metrics: Metrics) -> None:
        """Each of the three does its kind of action."""
        self._keys = keys
        self._objects = objects
        self._drops = drops
        self._metrics = metrics
        self._limit = asyncio.Semaphore(_AT_ONCE)

    async def carry_out(self, actions: Sequence[Action]) -> bool:
        """Do all of it, in order; says whether another reconcile has more to do, without any news.

        Raises:
            FleetError: NATS or the API server did not answer, or refused a key.
        """
        left, more = _OBJECTS_PER_PASS, False
        for _, group in groupby(actions, key=stage):
            batch = list(group)
            more = more or isinstance(batch[0], AddFinalizer)
            if isinstance(batch[0], OBJECT_ACTIONS):
                more = more or len(batch) > left
                batch = batch[:left]
                left -= len(batch)
            await self._together(batch)
        await self._objects.finish()
        return more

    async def _together(self, batch: Sequence[Action]) -> None:
        outcomes = await asyncio.gather(*(self._counted(action) for action in batch), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _counted(self, action: Action) -> None:
        kind = type(action).__name__
        async with self._limit:
            try:
                outcome = await self._one(action)
            except FleetError:
                self._metrics.actions.labels(kind, "failed").inc()
                raise
        self._metrics.actions.labels(kind, outcome).inc()

    async def _one(self, action: Action) -> str:
        if isinstance(action, OBJECT_ACTIONS):
            return await self._objects.do(action)
        if isinstance(action, Kick):
            return self._drops.begin(action)
        await self._keys.do(action)
        return "done"
