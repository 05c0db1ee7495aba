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
    return change_notes(meta, max((condition.observed_generation for condition in before.conditions), default=0))


def workload_notes(before: DeviceStatus, now: Sequence[WorkloadStatus], wanted: Collection[str]) -> tuple[Note, ...]:
    """What became of the workloads of a device since its last status."""
    known = {workload.name: workload for workload in before.workloads}
    complete = before.deployments <= len(before.workloads)
    notes = [
        Note("Warning" if workload.troubled else "Normal", workload.reason, _message(workload))
        for workload in now
        if workload.reason != NOT_REPORTED and _is_news(known.get(workload.name), workload, complete=complete)
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


def _message(workload: WorkloadStatus) -> str:
    detail = f"; {workload.message}" if workload.message else ""
    return f"{workload.name} generation {workload.generation}: {workload.phase}{detail}"
