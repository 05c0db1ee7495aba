"""Deployments that are not where they should be, why, and the devices that they wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from fleet.cli.reasons import DEPLOYMENTS
from fleet.contract import objects
from fleet.contract.labels import labels_of
from fleet.contract.objects import Device, WorkloadStatus
from fleet.contract.printable import one_line
from fleet.contract.wire import Phase
from fleet.web.seen import Deployment, Unreadable, condition
from fleet.web.views.commands import describe, for_deployment
from fleet.web.views.row import Summary
from fleet.web.views.trouble import unreadable_trouble

_NAMED = 6
"""Devices that are named of those that a rollout waits for; the deployment's screen has them all."""


class Blocker(msgspec.Struct, frozen=True):
    """A device that a rollout waits for."""

    device: str
    reason: str


class Rollout(msgspec.Struct, frozen=True):
    """A deployment that is not where it should be. `more` blockers are not named."""

    name: str
    ready: int
    matched: int
    failed: int
    reason: str
    means: str
    next_step: str
    message: str
    since: str
    halted: bool
    blockers: tuple[Blocker, ...]
    more: int
    command: str


Troubled = Sequence[tuple[Device, Summary]]
Workloads = Callable[[str], Sequence[WorkloadStatus]]


def rollouts(
    deployments: Iterable[Deployment], troubled: Troubled, workloads: Workloads, namespace: str
) -> tuple[Rollout, ...]:
    """Those that are not wholly ready, by name.

    `troubled` are the devices with troubles, and `workloads` says by a device's name what it said last.
    """
    found = (
        _rollout(one, troubled, workloads, namespace) for one in sorted(deployments, key=lambda one: one.metadata.name)
    )
    return tuple(one for one in found if one is not None)


def unreadable_rollout(item: Unreadable, namespace: str) -> Rollout:
    """A deployment that does not parse goes nowhere."""
    trouble = unreadable_trouble(item)
    return Rollout(
        name=one_line(item.name),
        ready=0,
        matched=0,
        failed=0,
        reason=trouble.reason,
        means=trouble.means,
        next_step=trouble.next_step,
        message=trouble.message,
        since=item.since,
        halted=False,
        blockers=(),
        more=0,
        command=describe(objects.DEPLOYMENTS, item.name, namespace),
    )


def _rollout(item: Deployment, troubled: Troubled, workloads: Workloads, namespace: str) -> Rollout | None:
    ready, progress, status = condition(item, "Ready"), condition(item, "Progressing"), item.status
    if item.current and ready is not None and ready.status == "True":
        return None
    if not item.current:
        reason, message = "NotYetSeen", "the operator has not seen this change yet"
    else:
        reason, message = (ready.reason, ready.message) if ready else ("NotYetSeen", "")
    since = ready.last_transition_time if ready else item.metadata.creation_timestamp
    counts = (status.ready, status.matched, status.failed) if item.current else (0, 0, 0)
    advice = DEPLOYMENTS.get(reason)
    blockers = tuple(_blockers(item, troubled, workloads))
    return Rollout(
        item.metadata.name,
        *counts,
        reason=one_line(reason),
        means=advice.means if advice else "",
        next_step=advice.next_step if advice else "",
        message=one_line(message),
        since=since,
        halted=item.current and progress is not None and progress.reason == "Halted",
        blockers=blockers[:_NAMED],
        more=max(0, len(blockers) - _NAMED),
        command=for_deployment(item.metadata.name, namespace)[0],
    )


def _blockers(item: Deployment, troubled: Troubled, workloads: Workloads) -> Iterable[Blocker]:
    """Selected devices that do not run the present generation: those on which it fails, then those that are away."""
    away: list[Blocker] = []
    about = f"workload {item.metadata.name}"
    for device, known in troubled:
        if not item.spec.selector.selects(labels_of(device)):
            continue
        said = next((one for one in workloads(device.metadata.name) if one.name == item.metadata.name), None)
        if said is not None and said.generation == item.metadata.generation and said.phase == Phase.RUNNING.value:
            continue
        own = next((one for one in known.troubles if one.about == about), None)
        other = next((one for one in known.troubles if one.about == "connection"), None)
        if own is not None:
            yield Blocker(device.metadata.name, one_line(own.reason))
        elif other is not None:
            away.append(Blocker(device.metadata.name, one_line(other.reason)))
    yield from away
