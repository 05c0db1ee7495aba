"""One deployment: its status and its end. Where it runs is `placement`'s."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from fleet.contract.limits import MAX_DESIRED, MAX_IMAGES
from fleet.contract.objects import DeploymentStatus, FleetDeployment, RunningImage, StrategyType
from fleet.contract.pod import images_in_short
from fleet.operator.new_condition import NewCondition
from fleet.operator.reconcile.actions import Action, AddFinalizer, Note, PatchDeploymentStatus, RemoveFinalizer
from fleet.operator.reconcile.notes import change_notes
from fleet.operator.reconcile.snapshot import Unparsed, deleting, held
from fleet.operator.reconcile.tally import Tally, images_differ, same_images
from fleet.operator.status import notes, settle

_TOLD: Mapping[str, Literal["Normal", "Warning"]] = {
    "AllReady": "Normal",
    "DevicesFailed": "Warning",
    "Halted": "Warning",
    "ImagesDiffer": "Warning",
    "NoDevices": "Warning",
    "OpenBaoAway": "Warning",
    "Paused": "Normal",
    "ReadyWhenLastHeard": "Normal",
    "RollingOut": "Normal",
    "SecretForbidden": "Warning",
    "SecretMissing": "Warning",
    "SecretNotSealable": "Warning",
    "SecretTooLarge": "Warning",
    "SecretUnusable": "Warning",
    "StateNotSaved": "Warning",
    "WorkloadTooLarge": "Warning",
}

_WHOLE = frozenset({"AllReady", "ReadyWhenLastHeard"})
"""Reasons that follow each other when a device comes or goes, which is told of the device."""
_IMAGES_TOLD = 3
"""Images that the condition names; the status has more."""


def reconcile_deployment(deployment: FleetDeployment, tally: Tally | None, now: float) -> list[Action]:
    """What to do for one deployment; `tally` is None when it is being deleted."""
    name = deployment.metadata.name
    if deleting(deployment):
        # Whatever named it goes before: see the order of actions.
        return [RemoveFinalizer("FleetDeployment", name)] if held(deployment) else []
    if tally is None or not held(deployment):
        return [AddFinalizer("FleetDeployment", name)]
    old, generation = deployment.status, deployment.metadata.generation
    images = same_images(tally.images)
    conditions = (_ready(deployment, tally, images), _progressing(deployment, tally))
    status = DeploymentStatus(
        observed_generation=generation,
        matched=tally.matched,
        updated=tally.updated,
        ready=tally.ready,
        failed=tally.failed,
        images=tuple(images[:MAX_IMAGES]),
        workload_images=images_in_short(deployment.spec.workload),
        conditions=settle(old.conditions, conditions, generation, now),
    )
    if status == old:
        return []
    events = (
        *change_notes(deployment.metadata, old.observed_generation),
        *_news(old, status),
    )
    return [PatchDeploymentStatus(name, status, events)]


def _news(old: DeploymentStatus, new: DeploymentStatus) -> Iterable[Note]:
    """The Events of a change of the conditions."""
    whole = {condition.type for condition in old.conditions if condition.reason in _WHOLE}
    changed = [
        condition for condition in new.conditions if condition.type not in whole or condition.reason not in _WHOLE
    ]
    return notes(old.conditions, changed, _TOLD)


def reconcile_unparsed(deployment: Unparsed, now: float) -> list[Action]:
    """What to do for one deployment that does not parse: its status says so, and counts no device."""
    meta, old = deployment.metadata, deployment.status
    message = f"nothing of it is sent to a device until it is corrected, and what ran before goes on: {deployment.why}"
    conditions = (
        NewCondition("Ready", "False", "InvalidSpec", message),
        NewCondition("Progressing", "False", "InvalidSpec", "no change is sent to a device until that is corrected"),
    )
    status = DeploymentStatus(meta.generation, conditions=settle(old.conditions, conditions, meta.generation, now))
    notes_of = change_notes(meta, old.observed_generation)
    return [] if status == old else [PatchDeploymentStatus(meta.name, status, notes_of)]


def _ready(deployment: FleetDeployment, tally: Tally, images: Sequence[RunningImage]) -> NewCondition:
    generation = deployment.metadata.generation
    if tally.oversized:
        too_large = f"the workload takes {tally.oversized} bytes, more than the {MAX_DESIRED} that a device can be sent"
        return NewCondition("Ready", "False", "WorkloadTooLarge", too_large)
    if (problem := tally.problem) is not None:
        so_far = f"{tally.ready} of {tally.matched} devices run generation {generation} with what they have"
        return NewCondition("Ready", "False", problem.reason, f"{problem.message}; {so_far}")
    if not tally.matched:
        return NewCondition("Ready", "False", "NoDevices", "the selector matches no device")
    if tally.failed:
        where = f"{tally.failed} of {tally.matched} devices failed; {tally.failing}"
        return NewCondition("Ready", "False", "DevicesFailed", where)
    if tally.ready < tally.matched:
        so_far = "; ".join([f"{tally.ready} of {tally.matched} devices run generation {generation}", *_away(tally)])
        so_far = f"{so_far}; {tally.waiting}"
        return NewCondition("Ready", "False", "Paused" if deployment.spec.paused else "InProgress", so_far)
    whole = "ReadyWhenLastHeard" if tally.away else "AllReady"
    differ = len(images) > 1 and images_differ(tally.images)
    reason = tally.troubled.reason or ("ImagesDiffer" if differ else whole)
    return NewCondition("Ready", "True", reason, "; ".join(_all_run(tally, images if differ else ())))


def _all_run(tally: Tally, differing: Sequence[RunningImage]) -> list[str]:
    """That every device runs it, and what there is to say of that."""
    parts = [f"{tally.matched} of {tally.matched} devices run it", *_away(tally)]
    if tally.troubled.count:
        parts.append(str(tally.troubled))
    if differing:
        shown = ", ".join(f"{image.image} on {image.devices}" for image in differing[:_IMAGES_TOLD])
        parts.append(
            f"they run {len(differing)} different images: {shown}; was the tag moved? name the image by its digest"
        )
    return parts


def _away(tally: Tally) -> list[str]:
    """What there is to say of devices that count as ready and are not online."""
    return [f"as far as is known, for {tally.away} of them cannot be heard"] if tally.away else []


def _progressing(deployment: FleetDeployment, tally: Tally) -> NewCondition:
    strategy = deployment.spec.strategy
    if tally.problem is not None:
        return NewCondition(
            "Progressing", "False", tally.problem.reason, "no change is sent to a device until that is mended"
        )
    if tally.oversized or tally.ready == tally.matched:
        return NewCondition("Progressing", "False", "Complete" if tally.matched and not tally.oversized else "Idle", "")
    if deployment.spec.paused:
        return NewCondition("Progressing", "False", "Paused", "no change is sent to a device until it is resumed")
    if strategy.type is StrategyType.ROLLING and tally.failed >= strategy.max_unavailable:
        halted = f"{tally.failed} failed, {strategy.max_unavailable} may be unavailable: no further device is changed"
        return NewCondition("Progressing", "False", "Halted", halted)
    if tally.ready + tally.failed == tally.matched:
        return NewCondition("Progressing", "False", "Failed", "every device has reported")
    return NewCondition("Progressing", "True", "RollingOut", "waiting for devices")
