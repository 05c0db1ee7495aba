"""The list of deployments, and one of them with its devices by state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fleet.cli.suggestions import for_deployment, has_logs
from fleet.contract.objects import Condition, StrategyType
from fleet.contract.printable import one_line, shortened
from fleet.contract.wire import Phase
from fleet.web.messages import RevisionSummary
from fleet.web.objects import Deployment, Unreadable, condition, withheld_secret
from fleet.web.views.deployment_devices import DeploymentDevices, Generation, StateGroup
from fleet.web.views.device import ConditionView
from fleet.web.views.unreadable import UNREADABLE

_NAMED = 6
"""Devices of a batch that are named."""
_EVERYWHERE = "every device"
_STOPPED = frozenset({"Halted", "Paused"})
_PRESENT, _PAST = "ready", "ready when last heard"


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
    return sorted(rows, key=lambda row: (order.get(row.state, 0), row.name))


def unreadable_row(item: Unreadable) -> DeploymentRow:
    """The line of a deployment that does not parse."""
    return DeploymentRow(one_line(item.name), "", 0, "", None, None, None, 0, None, UNREADABLE, item.why, item.since)


def deployment_screen(
    item: Deployment, devices: DeploymentDevices, revisions: Sequence[RevisionSummary], namespace: str
) -> DeploymentScreen:
    """The screen; `devices` are those of this deployment."""
    states, row = tuple(devices.states()), deployment_row(item, devices.offline)
    return DeploymentScreen(
        row=row,
        strategy=str(item.spec.strategy),
        observed=item.status.observed_generation,
        conditions=tuple(
            ConditionView(one.type, one.status, one_line(one.reason), one_line(one.message), one.last_transition_time)
            for one in item.status.conditions
        ),
        running=tuple((one_line(image.image), image.devices) for image in item.status.images) if item.current else (),
        batch=_batch(item, states),
        generations=tuple(devices.generations()),
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
    shown = (device for state in states for device in state.devices)
    return next((device.device for device in shown if has_logs(item.metadata.name, device.reason)), "")


def _summary(revision: RevisionSummary) -> RevisionSummary:
    """A revision as it is shown: its texts, which anybody may have written, as what they are."""
    return msgspec.structs.replace(
        revision,
        by=one_line(revision.by),
        command=one_line(revision.command),
        images=one_line(revision.images),
        selector=one_line(revision.selector) or _EVERYWHERE,
        changed=tuple(map(one_line, revision.changed)),
    )


def _batch(item: Deployment, states: Sequence[StateGroup]) -> Batch | None:
    """The batch that is under way; None where there are none, all is done, or the counts are of an earlier change."""
    status, strategy = item.status, item.spec.strategy
    under_way, to_come = status.updated - status.ready, status.matched - status.updated
    if strategy.type is not StrategyType.ROLLING or not item.current or max(under_way, to_come) <= 0:
        return None
    named = [
        device.device
        for state in states
        if state.state != Phase.RUNNING.value
        for device in state.devices
        if device.generation == item.metadata.generation
    ]
    size = strategy.max_unavailable
    progress = condition(item, "Progressing")
    stopped = progress.reason if progress is not None and progress.reason in _STOPPED else ""
    return Batch(
        stopped, size, status.ready, max(0, under_way), tuple(named[:_NAMED]), max(0, to_come), -(-to_come // size)
    )
