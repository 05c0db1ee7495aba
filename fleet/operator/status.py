"""Conditions: what is true of an object, since when, and the Event of a change."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from fleet.contract.objects import Condition
from fleet.contract.printable import one_line
from fleet.operator.new_condition import NewCondition
from fleet.operator.reconcile.actions import Note

_LONGEST = 1024
"""Characters of a condition's message: it contains text from devices, and etcd keeps every version."""


def settle(
    old: Sequence[Condition], current: Sequence[NewCondition], generation: int, now: float
) -> tuple[Condition, ...]:
    """The conditions that `current` make of `old`; `last_transition_time` moves only when the status does.

    Equal to `old` when nothing changed. Conditions of other writers are not kept: the status is the operator's alone.
    """
    before = {condition.type: condition for condition in old}
    return tuple(_settled(before.get(new.type), new, generation, now) for new in current)


def _settled(old: Condition | None, new: NewCondition, generation: int, now: float) -> Condition:
    since = old.last_transition_time if old is not None and old.status == new.status else timestamp(now)
    # A message may hold what a device said, and `kubectl` prints it as it is.
    message = one_line(new.message)[:_LONGEST]
    settled = Condition(new.type, new.status, new.reason, message, since, generation)
    return old if old is not None and old == settled else settled


def timestamp(moment: float) -> str:
    """Unix seconds as Kubernetes writes a time: RFC 3339, UTC, whole seconds."""
    return _written(int(moment // 1))


@lru_cache(maxsize=16)
def _written(moment: int) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def notes(
    old: Sequence[Condition], new: Sequence[Condition], event_types: Mapping[str, Literal["Normal", "Warning"]]
) -> tuple[Note, ...]:
    """An Event for each condition that just came to a reason listed in `event_types`."""
    before = {condition.type: condition.reason for condition in old}
    return tuple(
        Note(event_types[condition.reason], condition.reason, condition.message)
        for condition in new
        if condition.reason in event_types and before.get(condition.type) != condition.reason
    )
