"""Events besides those of conditions: who ordered a generation, and the progress of a device's workloads. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fleet.contract.change import change_of
from fleet.contract.objects import DeviceStatus, Metadata, WorkloadStatus
from fleet.operator.reconcile.actions import Note
from fleet.operator.reconcile.workloads import NOT_REPORTED

ORDERED = "GenerationOrdered"


def change_notes(meta: Metadata, observed: int) -> tuple[Note, ...]:
    """Who ordered the generation that is seen for the first time; `observed` is the last one that was seen."""
    if meta.generation <= observed:
        return ()
    change = change_of(meta)
    by = str(change) if change else "with another tool than `fleet`: the object's managedFields name it"
    return (Note("Normal", ORDERED, f"generation {meta.generation} was ordered {by}"),)


def device_change_notes(meta: Metadata, before: DeviceStatus) -> tuple[Note, ...]:
    """As `ordered`, of a device, whose conditions tell what was seen."""
    return change_notes(meta, max((one.observed_generation for one in before.conditions), default=0))


def workload_notes(before: DeviceStatus, now: Sequence[WorkloadStatus], wanted: Collection[str]) -> tuple[Note, ...]:
    """What became of the workloads of a device since its last status."""
    known = {one.name: one for one in before.workloads}
    complete = before.deployments <= len(before.workloads)
    notes = [
        Note("Warning" if one.troubled else "Normal", one.reason, _message(one))
        for one in now
        if one.reason != NOT_REPORTED and _is_news(known.get(one.name), one, complete=complete)
    ]
    notes += [
        Note("Normal", "WorkloadRemoved", f"{name} is not to run here any more") for name in known if name not in wanted
    ]
    return tuple(notes)


def _is_news(before: WorkloadStatus | None, now: WorkloadStatus, *, complete: bool) -> bool:
    if before is None:
        # A status does not show all of many: what only moved up is no news, unless it moved up for its trouble.
        return complete or now.troubled
    return (before.generation, before.phase, before.reason) != (now.generation, now.phase, now.reason)


def _message(one: WorkloadStatus) -> str:
    return f"{one.name} generation {one.generation}: {one.phase}{f'; {one.message}' if one.message else ''}"
