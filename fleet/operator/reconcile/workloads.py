"""A device's deployments as its status shows them: what it said of each, since when, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from fleet.contract.limits import MAX_WORKLOADS_SHOWN
from fleet.contract.objects import ContainerStatus, WorkloadStatus
from fleet.contract.printable import one_line, shortened
from fleet.contract.wire import Desired, DeviceState, Phase
from fleet.operator.new_condition import NewCondition
from fleet.operator.reconcile.secrets import SecretProblem
from fleet.operator.reconcile.tally import NAMED, known_as, named
from fleet.operator.status import timestamp

NOT_REPORTED = "NotReported"
"""The reason of a deployment of which the device has said nothing yet."""
_MESSAGE = 160
"""Characters of what is said of one deployment."""
_IMAGE = 128
_FEW = 8
"""So many fit in any case."""
_ROOM = 12 * 1024
"""Bytes that all of them take in a status, which has about 2 KB without: etcd keeps every version of it for a while."""

_CONTAINER_ROOM = 6 * 1024
"""And their containers, of that: those of two pods of the largest size, of some twenty of the usual one."""


def shown_workloads(
    wanted: Mapping[str, Desired],
    states: Mapping[str, DeviceState],
    old: Sequence[WorkloadStatus],
    now: float,
    *,
    problems: Mapping[str, SecretProblem] = MappingProxyType({}),
) -> tuple[WorkloadStatus, ...]:
    """The deployments of a device, those in trouble first; as many as there is room for.

    `problems` are those whose secrets cannot be sealed for it: what it has of them goes on.
    """
    before = {workload.name: workload for workload in old}
    statuses = {name: _shown(name, desired, states.get(name)) for name, desired in wanted.items()}
    statuses |= {name: _with_problem(name, problem, statuses.get(name)) for name, problem in problems.items()}
    workloads = [with_since(workload, before.get(workload.name), now) for workload in statuses.values()]
    workloads.sort(key=lambda workload: (not workload.troubled, workload.name))
    workloads = _with_room_for_containers(workloads)
    if len(workloads) <= _FEW:
        return tuple(workloads)
    shown: list[WorkloadStatus] = []
    room = _ROOM
    for workload in workloads[:MAX_WORKLOADS_SHOWN]:
        room -= len(msgspec.json.encode(workload))
        if room < 0:
            break
        shown.append(workload)
    return tuple(shown)


def _with_room_for_containers(workloads: Sequence[WorkloadStatus]) -> list[WorkloadStatus]:
    """Tell the containers of the first ones alone, where there are many."""
    shown: list[WorkloadStatus] = []
    room = _CONTAINER_ROOM
    for workload in workloads:
        room -= len(msgspec.json.encode(workload.containers))
        shown.append(workload if room >= 0 else msgspec.structs.replace(workload, containers=()))
    return shown


def _shown(name: str, desired: Desired, state: DeviceState | None) -> WorkloadStatus:
    if state is None or not desired.is_told_by(state):
        earlier = f"of generation {state.generation} it said {state.phase.value}" if state else ""
        return WorkloadStatus(name, desired.generation, Phase.PENDING.value, NOT_REPORTED, earlier)
    return as_told(name, state)


def as_told(name: str, state: DeviceState) -> WorkloadStatus:
    """What a device said of a deployment, as a status has it; `since` is empty."""
    message = shortened(one_line(state.message), _MESSAGE)
    image = one_line(known_as(state.image_id, *state.image_digests))[:_IMAGE]
    containers = tuple(
        ContainerStatus(one_line(container.name), container.phase.value, container.reason.value)
        for container in state.containers
    )
    return WorkloadStatus(
        name, state.generation, state.phase.value, state.reason.value, message, image, containers=containers
    )


def _with_problem(name: str, problem: SecretProblem, shown: WorkloadStatus | None) -> WorkloadStatus:
    status = shown or WorkloadStatus(name, 0, (Phase.PENDING if problem.waits else Phase.FAILED).value, "")
    return msgspec.structs.replace(
        status, reason=problem.reason, message=shortened(one_line(problem.message), _MESSAGE)
    )


def with_since(workload: WorkloadStatus, before: WorkloadStatus | None, now: float) -> WorkloadStatus:
    """The status with the time since when it is so: it moves when the generation, the phase or the reason does."""
    same = before is not None and _standing(before) == _standing(workload)
    return msgspec.structs.replace(workload, since=before.since if before is not None and same else timestamp(now))


def _standing(workload: WorkloadStatus) -> object:
    return workload.generation, workload.phase, workload.reason


def trouble(workloads: Sequence[WorkloadStatus]) -> NewCondition | None:
    """The condition of a device with a problem that needs attention; its reason is that of the first problem."""
    troubled = [workload for workload in workloads if workload.troubled]
    if not troubled:
        return None
    summary = named(
        len(troubled), ((workload.name, workload.reason, workload.message) for workload in troubled[:NAMED])
    )
    return NewCondition("WorkloadTrouble", "True", summary.reason, str(summary))
