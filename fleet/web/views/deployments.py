"""The list of deployments, and one of them with its devices by state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fleet.cli.suggestions import for_deployment, has_logs
from fleet.cli.trouble import online
from fleet.contract.labels import labels_of
from fleet.contract.objects import Condition, Device, StrategyType, WorkloadStatus
from fleet.contract.printable import one_line, shortened
from fleet.contract.wire import Phase
from fleet.web.messages import RevisionSummary
from fleet.web.objects import Deployment, Unreadable, condition, withheld_secret
from fleet.web.views.device import ConditionView
from fleet.web.views.unreadable import UNREADABLE

_SHOWN = 50
"""Devices of one state that are named."""
_UNTOLD = "Unknown"
_ORDER = {Phase.FAILED.value: 0, Phase.UNHEALTHY.value: 1, Phase.RESTARTING.value: 2, Phase.RUNNING.value: 9}
_BETWEEN = 5
"""Where states stand that are in no order, those that fail being the first."""
_GENERATIONS, _IMAGES = 10, 4
"""Generations that are shown, and images of each."""
_NAMED = 6
"""Devices of a batch that are named."""
_EVERYWHERE = "every device"
_STOPPED = frozenset({"Halted", "Paused"})
_PRESENT, _PAST = "ready", "ready when last heard"
_LAST_HEARD = "as it was when the device was last heard: it {}"


class DeploymentRow(msgspec.Struct, frozen=True):
    """A deployment in the list. The counts are None while they are of an earlier generation.

    `state` is ready, ready when last heard, not ready or unknown; `offline` of those that are ready are not online.
    """

    name: str
    images: str
    generation: int
    selector: str
    matched: int | None
    updated: int | None
    ready: int | None
    offline: int
    failed: int | None
    state: str
    reason: str
    since: str


class DeviceState(msgspec.Struct, frozen=True):
    """How one device stands with the deployment."""

    device: str
    reason: str
    message: str
    generation: int


class StateGroup(msgspec.Struct, frozen=True):
    """The devices in one state."""

    state: str
    count: int
    devices: tuple[DeviceState, ...]
    more: int
    bad: bool


class Generation(msgspec.Struct, frozen=True):
    """One generation of the deployment, as far as devices run it; `states` are counts, those that fail first."""

    generation: int
    wanted: bool
    devices: int
    states: tuple[tuple[str, int], ...]
    images: tuple[str, ...]


class Batch(msgspec.Struct, frozen=True):
    """How far a rolling change has come, in devices. `stopped` is why it does not go on, Halted or Paused, or empty.

    `under_way` were told to run it and do not yet, of at most `size` at once; `devices` are those of them that said
    what keeps them. `to_come` were not told yet, which takes `batches` more.
    """

    stopped: str
    size: int
    ready: int
    under_way: int
    devices: tuple[str, ...]
    to_come: int
    batches: int


class DeploymentScreen(msgspec.Struct, frozen=True):
    """The whole screen."""

    row: DeploymentRow
    strategy: str
    observed: int
    conditions: tuple[ConditionView, ...]
    running: tuple[tuple[str, int], ...]
    batch: Batch | None
    generations: tuple[Generation, ...]
    revisions: tuple[RevisionSummary, ...]
    states: tuple[StateGroup, ...]
    commands: tuple[str, ...]


def deployment_row(item: Deployment, offline: int) -> DeploymentRow:
    """One line of the list. So many devices ran it when they were last heard, and are not online: `offline`."""
    ready, status, current = condition(item, "Ready"), item.status, item.current
    return DeploymentRow(
        name=item.metadata.name,
        images=one_line(", ".join(item.spec.workload.images)),
        generation=item.metadata.generation,
        selector=shortened(one_line(str(item.spec.selector))) or _EVERYWHERE,
        matched=status.matched if current else None,
        updated=status.updated if current else None,
        ready=status.ready if current else None,
        offline=offline if current else 0,
        failed=status.failed if current else None,
        state=_state_of(ready, offline) if ready and current else "unknown",
        reason=one_line(ready.reason) if ready and current else "NotYetSeen",
        since=ready.last_transition_time if ready else item.metadata.creation_timestamp,
    )


def _state_of(ready: Condition, offline: int) -> str:
    whole = _PAST if offline or ready.reason == "ReadyWhenLastHeard" else _PRESENT
    return {"True": whole, "False": "not ready"}.get(ready.status, "unknown")


def in_order(rows: Iterable[DeploymentRow]) -> list[DeploymentRow]:
    """Those that are not ready first."""
    order = {_PRESENT: 2, _PAST: 1}
    return sorted(rows, key=lambda one: (order.get(one.state, 0), one.name))


def unreadable_row(item: Unreadable) -> DeploymentRow:
    """The line of a deployment that does not parse."""
    return DeploymentRow(one_line(item.name), "", 0, "", None, None, None, 0, None, UNREADABLE, item.why, item.since)


def deployment_screen(
    item: Deployment,
    devices: Iterable[Device],
    workloads: Mapping[str, Sequence[WorkloadStatus]],
    revisions: Sequence[RevisionSummary],
    offline: int,
    namespace: str,
) -> DeploymentScreen:
    """The screen; `workloads` are what each device said last, by the device's name. `offline` is as of a row."""
    states, row = tuple(_states(item, devices, workloads)), deployment_row(item, offline)
    return DeploymentScreen(
        row=row,
        strategy=str(item.spec.strategy),
        observed=item.status.observed_generation,
        conditions=tuple(
            ConditionView(one.type, one.status, one_line(one.reason), one_line(one.message), one.last_transition_time)
            for one in item.status.conditions
        ),
        running=tuple((one_line(one.image), one.devices) for one in item.status.images) if item.current else (),
        batch=_batch(item, states),
        generations=tuple(_generations(item, workloads.values())),
        revisions=tuple(map(_summary, revisions)),
        states=states,
        commands=tuple(
            for_deployment(
                row.name,
                namespace,
                row.reason,
                failing=_failing(item, states),
                may_go_back=len(revisions) > 1,
                withheld=withheld_secret(item),
            )
        ),
    )


def _failing(item: Deployment, states: Sequence[StateGroup]) -> str:
    """The first device on which the log says more; empty where there is none."""
    shown = (one for state in states for one in state.devices)
    return next((one.device for one in shown if has_logs(item.metadata.name, one.reason)), "")


def _summary(one: RevisionSummary) -> RevisionSummary:
    """A revision as it is shown: its texts, which anybody may have written, as what they are."""
    return msgspec.structs.replace(
        one,
        by=one_line(one.by),
        command=one_line(one.command),
        images=one_line(one.images),
        selector=one_line(one.selector) or _EVERYWHERE,
        changed=tuple(map(one_line, one.changed)),
    )


def _batch(item: Deployment, states: Sequence[StateGroup]) -> Batch | None:
    """The batch that is under way; None where there are none, all is done, or the counts are of an earlier change."""
    status, strategy = item.status, item.spec.strategy
    under_way, to_come = status.updated - status.ready, status.matched - status.updated
    if strategy.type is not StrategyType.ROLLING or not item.current or max(under_way, to_come) <= 0:
        return None
    named = [
        one.device
        for state in states
        if state.state != Phase.RUNNING.value
        for one in state.devices
        if one.generation == item.metadata.generation
    ]
    size = strategy.max_unavailable
    progress = condition(item, "Progressing")
    stopped = progress.reason if progress is not None and progress.reason in _STOPPED else ""
    return Batch(
        stopped, size, status.ready, max(0, under_way), tuple(named[:_NAMED]), max(0, to_come), -(-to_come // size)
    )


def _states(
    item: Deployment, devices: Iterable[Device], workloads: Mapping[str, Sequence[WorkloadStatus]]
) -> Iterable[StateGroup]:
    """Devices by state, those that fail first."""
    found: dict[str, list[DeviceState]] = {}
    selector = item.spec.selector
    for device in devices:
        if not device.spec.revoked and selector.selects(labels_of(device)):
            state, shown = _state(item, device, workloads.get(device.metadata.name, ()))
            found.setdefault(state, []).append(shown)
    for state in sorted(found, key=lambda one: (_ORDER.get(one, _BETWEEN), one)):
        members = sorted(found[state], key=lambda one: one.device)
        yield StateGroup(
            state,
            len(members),
            tuple(members[:_SHOWN]),
            max(0, len(members) - _SHOWN),
            _ORDER.get(state, _BETWEEN) < _BETWEEN,
        )


def _generations(item: Deployment, workloads: Iterable[Sequence[WorkloadStatus]]) -> Iterable[Generation]:
    """What devices run of the deployment by generation, the newest first; the one that is wanted is always there."""
    found: dict[int, list[WorkloadStatus]] = {item.metadata.generation: []}
    for said in workloads:
        for one in said:
            if one.name == item.metadata.name:
                found.setdefault(one.generation, []).append(one)
    for generation in sorted(found, reverse=True)[:_GENERATIONS]:
        running = found[generation]
        phases = Counter(one_line(one.phase) or _UNTOLD for one in running)
        states = tuple(sorted(phases.items(), key=lambda one: (_ORDER.get(one[0], _BETWEEN), one[0])))
        images = sorted({one_line(one.image) for one in running if one.image})
        wanted = generation == item.metadata.generation
        yield Generation(generation, wanted, len(running), states, tuple(images[:_IMAGES]))


def _state(item: Deployment, device: Device, said: Sequence[WorkloadStatus]) -> tuple[str, DeviceState]:
    name = device.metadata.name
    known = next((one for one in said if one.name == item.metadata.name), None)
    if known is None or known.generation != item.metadata.generation:
        connected = condition(device, "Online")
        away = connected is None or connected.status != "True"
        reason = (connected.reason if connected else "NotYetSeen") if away else "NotBegun" if known else "NotReported"
        message = f"it runs generation {known.generation}" if known else ""
        return Phase.PENDING.value, DeviceState(name, one_line(reason), message, known.generation if known else 0)
    past = {"yes": "", "no": _LAST_HEARD.format("is offline")}.get(online(device), _LAST_HEARD.format("may be offline"))
    message = "; ".join(filter(None, (known.message, past)))
    shown = DeviceState(name, one_line(known.reason), one_line(message), known.generation)
    return one_line(known.phase) or _UNTOLD, shown
