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
    before = {one.name: one for one in old}
    statuses = {name: _shown(name, desired, states.get(name)) for name, desired in wanted.items()}
    statuses |= {name: _with_problem(name, problem, statuses.get(name)) for name, problem in problems.items()}
    found = [with_since(one, before.get(one.name), now) for one in statuses.values()]
    found.sort(key=lambda one: (not one.troubled, one.name))
    found = _with_room_for_containers(found)
    if len(found) <= _FEW:
        return tuple(found)
    shown: list[WorkloadStatus] = []
    room = _ROOM
    for one in found[:MAX_WORKLOADS_SHOWN]:
        room -= len(msgspec.json.encode(one))
        if room < 0:
            break
        shown.append(one)
    return tuple(shown)


def _with_room_for_containers(found: Sequence[WorkloadStatus]) -> list[WorkloadStatus]:
    """Tell the containers of the first ones alone, where there are many."""
    shown: list[WorkloadStatus] = []
    room = _CONTAINER_ROOM
    for one in found:
        room -= len(msgspec.json.encode(one.containers))
        shown.append(one if room >= 0 else msgspec.structs.replace(one, containers=()))
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
        ContainerStatus(one_line(one.name), one.phase.value, one.reason.value) for one in state.containers
    )
    return WorkloadStatus(
        name, state.generation, state.phase.value, state.reason.value, message, image, containers=containers
    )


def _with_problem(name: str, problem: SecretProblem, shown: WorkloadStatus | None) -> WorkloadStatus:
    one = shown or WorkloadStatus(name, 0, (Phase.PENDING if problem.waits else Phase.FAILED).value, "")
    return msgspec.structs.replace(one, reason=problem.reason, message=shortened(one_line(problem.message), _MESSAGE))


def with_since(one: WorkloadStatus, before: WorkloadStatus | None, now: float) -> WorkloadStatus:
    """The status with the time since when it is so: it moves when the generation, the phase or the reason does."""
    same = before is not None and _standing(before) == _standing(one)
    return msgspec.structs.replace(one, since=before.since if before is not None and same else timestamp(now))


def _standing(one: WorkloadStatus) -> object:
    return one.generation, one.phase, one.reason


def trouble(workloads: Sequence[WorkloadStatus]) -> NewCondition | None:
    """The condition of a device with a problem that needs attention; its reason is that of the first problem."""
    troubled = [one for one in workloads if one.troubled]
    if not troubled:
        return None
    summary = named(len(troubled), ((one.name, one.reason, one.message) for one in troubled[:NAMED]))
    return NewCondition("WorkloadTrouble", "True", summary.reason, str(summary))
