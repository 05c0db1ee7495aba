"""Conditions: what is true of an object, since when, and what to tell in an Event when it changes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Literal

from fleet.contract.objects import Condition
from fleet.contract.printable import one_line
from fleet.operator.claim import Claim
from fleet.operator.reconcile.actions import Note

_LONGEST = 1024
"""Characters of a condition's message: what devices say is part of it, and etcd keeps every version of it."""


def settle(old: Sequence[Condition], claims: Sequence[Claim], generation: int, now: float) -> tuple[Condition, ...]:
    """The conditions that `claims` make of `old`; `last_transition_time` moves only when the status does.

    Equal to `old` when nothing changed. Conditions of other writers are not kept: the status is the operator's alone.
    """
    before = {condition.type: condition for condition in old}
    return tuple(_settled(before.get(claim.type), claim, generation, now) for claim in claims)


def _settled(old: Condition | None, claim: Claim, generation: int, now: float) -> Condition:
    since = old.last_transition_time if old is not None and old.status == claim.status else timestamp(now)
    # A message may hold what a device said, and `kubectl` prints it as it is.
    message = one_line(claim.message)[:_LONGEST]
    return Condition(claim.type, claim.status, claim.reason, message, since, generation)


def timestamp(moment: float) -> str:
    """Unix seconds as Kubernetes writes a time: RFC 3339, UTC, whole seconds."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def notes(
    old: Sequence[Condition], new: Sequence[Condition], told: Mapping[str, Literal["Normal", "Warning"]]
) -> tuple[Note, ...]:
    """An Event for each condition that just came to a reason listed in `told`."""
    before = {condition.type: condition.reason for condition in old}
    return tuple(
        Note(told[condition.reason], condition.reason, condition.message)
        for condition in new
        if condition.reason in told and before.get(condition.type) != condition.reason
    )
