"""Carrying out what a reconcile decided, in NATS and in Kubernetes.

Stages run one after the other, the actions of a stage at once. When NATS does not answer, the pass ends, for what comes
later builds on it. What is refused is the trouble of one object: nothing more is done for it, and the others go on.
Writes to Kubernetes are handed to a writer of their own, for which no pass waits. Every success goes into the store at
once, so that the next reconcile sees it without waiting for an echo.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby

from fleet.contract.errors import Unreachable
from fleet.operator.act.keys import DesiredWrite, KeyAction, Keys
from fleet.operator.act.pace import Key
from fleet.operator.act.queue import OBJECT_ACTIONS, ObjectAction
from fleet.operator.act.session_dropper import SessionDropper
from fleet.operator.act.writer import Writer
from fleet.operator.metrics import Metrics
from fleet.operator.plan.planner import Plan
from fleet.operator.reconcile.actions import DeleteIdentity, Kick, WriteIdentity, stage
from fleet.operator.reconcile.guard import Trouble

_AT_ONCE = 256
"""Writes on their way at the same time."""


class Actor:
    """The hands of the operator."""

    def __init__(self, keys: Keys, writer: Writer, dropper: SessionDropper, metrics: Metrics) -> None:
        self._keys = keys
        self._writer = writer
        self._dropper = dropper
        self._metrics = metrics
        self._limit = asyncio.Semaphore(_AT_ONCE)

    async def carry_out(self, plan: Plan, trouble: Trouble) -> frozenset[Key]:
        """Carry out all actions, in order; writes to Kubernetes are queued when this returns.

        Returns:
            The objects of which an action failed. Each is reported to `trouble`; its later actions are skipped.

        Raises:
            Unreachable: NATS did not answer.
        """
        self._writer.hold_details(held=plan.more)
        others = [action for action in plan.actions if not isinstance(action, OBJECT_ACTIONS)]
        failed: frozenset[Key] = frozenset()
        for _, group in groupby(others, key=stage):
            failed |= await self._together([action for action in group if _about(action) not in failed], trouble)
        writes = [action for action in plan.actions if isinstance(action, OBJECT_ACTIONS)]
        complete = [write for write in writes if self._writer.key(write) not in failed]
        self._writer.replace(complete, plan.decided - failed)
        return failed

    def write_objects(self, actions: Sequence[ObjectAction]) -> None:
        """Queue these writes to Kubernetes besides those in progress, when no pass can complete."""
        self._writer.replace(actions, ())

    async def _together(self, batch: Sequence[KeyAction | DesiredWrite | Kick], trouble: Trouble) -> frozenset[Key]:
        writes = [action for action in batch if isinstance(action, DesiredWrite)]
        single = [action for action in batch if not isinstance(action, DesiredWrite)]
        outcomes: list[BaseException | None] = [*await self._write_desired(writes)] if writes else []
        outcomes += await asyncio.gather(*(self._counted(action) for action in single), return_exceptions=True)
        failed: set[Key] = set()
        for action, outcome in zip([*writes, *single], outcomes, strict=True):
            if isinstance(outcome, Unreachable) or not isinstance(outcome, Exception | None):
                raise outcome
            if outcome is not None:
                failed.add(_about(action))
                trouble(*_about(action), outcome)
        return frozenset(failed)

    async def _write_desired(self, writes: Sequence[DesiredWrite]) -> Sequence[Exception | None]:
        outcomes: Sequence[Exception | None]
        try:
            outcomes = await self._keys.write_desired(writes)
        except Unreachable:
            raise
        except Exception:  # one that nobody foresaw: it stays with its device
            outcomes = [await self._write_one(write) for write in writes]
        for action, outcome in zip(writes, outcomes, strict=True):
            self._metrics.actions.labels(type(action).__name__, "failed" if outcome else "done").inc()
        return outcomes

    async def _write_one(self, write: DesiredWrite) -> Exception | None:
        try:
            (outcome,) = await self._keys.write_desired([write])
        except Unreachable:
            raise
        except Exception as error:
            return error
        return outcome

    async def _counted(self, action: KeyAction | Kick) -> None:
        kind = type(action).__name__
        async with self._limit:
            try:
                outcome = await self._one(action)
            except Exception:
                self._metrics.actions.labels(kind, "failed").inc()
                raise
        self._metrics.actions.labels(kind, outcome).inc()

    async def _one(self, action: KeyAction | Kick) -> str:
        if isinstance(action, Kick):
            return self._dropper.begin(action)
        await self._keys.do(action)
        return "done"


def _about(action: KeyAction | DesiredWrite | Kick) -> Key:
    """The object that an action belongs to; the removal of a subject has no object, and returns the subject."""
    match action:
        case WriteIdentity(_, identity):
            return "Device", str(identity.device)
        case DeleteIdentity(subject):
            return "Device", subject
        case _:
            return "Device", action.device
