"""The present status of an object: statements about an earlier generation are not printed as if they were current."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from fleet.cli.invalid import InvalidDeployment, InvalidDevice
from fleet.contract.objects import Condition, DeploymentStatus, Device, FleetDeployment
from fleet.contract.pod import Pod, start_order

K = TypeVar("K", Device, FleetDeployment)

NOT_YET_SEEN = "NotYetSeen"
"""The reason of a condition about an earlier generation, and of one that was never written."""
_UNSEEN = "not yet seen by the operator"
_ANSWERS = frozenset({"Cordoned", "Enrolled", "Revoked", "Upgraded"})
"""Conditions of a device that answer its spec. The others follow from its reports."""


def seen(item: FleetDeployment) -> bool:
    """Whether the status is about the object as it is now."""
    return item.status.observed_generation >= item.metadata.generation


def as_seen(item: K) -> K:
    """The object with every condition that answers an earlier generation made `Unknown`, for printing."""
    conditions = tuple(_current(item, known) for known in item.status.conditions)
    if isinstance(item, FleetDeployment) and not seen(item) and not conditions:
        created = item.metadata.creation_timestamp
        conditions = (Condition("Ready", "Unknown", NOT_YET_SEEN, f"{_UNSEEN}: see `fleet server status`", created),)
    return msgspec.structs.replace(item, status=msgspec.structs.replace(item.status, conditions=conditions))


def _current(item: Device | FleetDeployment, known: Condition) -> Condition:
    answers = isinstance(item, FleetDeployment) or known.type in _ANSWERS or known.reason == "Revoked"
    if not answers or known.observed_generation >= item.metadata.generation:
        return known
    before = f"of generation {known.observed_generation} it said {known.status} ({known.reason})"
    what = f"generation {item.metadata.generation} is {_UNSEEN}; {before}"
    return msgspec.structs.replace(known, status="Unknown", reason=NOT_YET_SEEN, message=what)


def status_of(item: Device | FleetDeployment, condition: str) -> tuple[str, str]:
    """A condition's status and reason; `Unknown` until the operator has written it."""
    for known in item.status.conditions:
        if known.type == condition:
            return known.status, known.reason
    return "Unknown", NOT_YET_SEEN


COUNTS = ("matched", "updated", "ready", "failed")


def cells(item: FleetDeployment) -> list[object]:
    """The counts of a deployment for a table; dashes if there are none of this generation."""
    counted = seen(item) and not isinstance(item, InvalidDeployment)
    return [getattr(item.status, name) if counted else "-" for name in COUNTS]


def counts(item: FleetDeployment) -> str:
    """The counts of a deployment in words."""
    if not seen(item):
        return _UNSEEN
    return ", ".join(f"{getattr(item.status, name)} {name}" for name in COUNTS)


def revoked(item: Device) -> str:
    """Whether a device is shut out; `pending` until the operator has seen the last of its sessions go."""
    if isinstance(item, InvalidDevice):
        return "-"
    if not item.spec.revoked:
        return "no"
    return "yes" if status_of(item, "Revoked")[0] == "True" else "pending"


def conditions(item: Device | FleetDeployment) -> list[tuple[str, object]]:
    """Every condition, for `show`."""
    return [
        (known.type, f"{known.status} ({known.reason}) {known.message}".rstrip()) for known in item.status.conditions
    ]


def shown_status(status: DeploymentStatus) -> dict[str, object]:
    """A status about an earlier generation, as a program reads it: without counts."""
    return {"observedGeneration": status.observed_generation, "conditions": msgspec.to_builtins(status.conditions)}


def containers(item: FleetDeployment) -> list[tuple[str, object]]:
    """The containers of a pod, in the order in which they start."""
    workload = item.spec.workload
    return [("containers", ", ".join(start_order(workload)))] if isinstance(workload, Pod) else []
