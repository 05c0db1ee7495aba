"""One deployment: its status and its end. Where it runs is `placement`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fleet.contract.objects import DeploymentStatus, FleetDeployment, StrategyType
from fleet.operator.claim import Claim
from fleet.operator.reconcile.actions import Action, AddFinalizer, PatchDeploymentStatus, RemoveFinalizer
from fleet.operator.reconcile.placement import LARGEST, Tally
from fleet.operator.reconcile.snapshot import deleting, held
from fleet.operator.status import notes, settle

_TOLD: Mapping[str, Literal["Normal", "Warning"]] = {
    "AllReady": "Normal",
    "DevicesFailed": "Warning",
    "WorkloadTooLarge": "Warning",
}


def reconcile_deployment(deployment: FleetDeployment, tally: Tally | None, now: float) -> list[Action]:
    """What to do for one deployment; `tally` is None when it is being deleted."""
    name = deployment.metadata.name
    if deleting(deployment):
        # Whatever named it goes before: see the order of actions.
        return [RemoveFinalizer("FleetDeployment", name)] if held(deployment) else []
    if tally is None or not held(deployment):
        return [AddFinalizer("FleetDeployment", name)]
    old, generation = deployment.status, deployment.metadata.generation
    claims = (_ready(tally, generation), _progressing(deployment, tally))
    status = DeploymentStatus(
        observed_generation=generation,
        matched=tally.matched,
        updated=tally.updated,
        ready=tally.ready,
        failed=tally.failed,
        conditions=settle(old.conditions, claims, generation, now),
    )
    if status == old:
        return []
    return [PatchDeploymentStatus(name, status, notes(old.conditions, status.conditions, _TOLD))]


def _ready(tally: Tally, generation: int) -> Claim:
    if tally.oversized:
        too_large = f"the workload takes {tally.oversized} bytes, more than the {LARGEST} that a device can be sent"
        return Claim("Ready", "False", "WorkloadTooLarge", too_large)
    if not tally.matched:
        return Claim("Ready", "False", "NoDevices", "the selector matches no device")
    if tally.failure:
        where = f"{tally.failed} of {tally.matched} devices failed; {tally.failure.device}: {tally.failure.why}"
        return Claim("Ready", "False", "DevicesFailed", where)
    if tally.ready == tally.matched:
        return Claim("Ready", "True", "AllReady", f"{tally.matched} of {tally.matched} devices run it")
    return Claim(
        "Ready", "False", "InProgress", f"{tally.ready} of {tally.matched} devices run generation {generation}"
    )


def _progressing(deployment: FleetDeployment, tally: Tally) -> Claim:
    strategy = deployment.spec.strategy
    if tally.oversized or tally.ready == tally.matched:
        return Claim("Progressing", "False", "Complete" if tally.matched and not tally.oversized else "Idle", "")
    if strategy.type is StrategyType.ROLLING and tally.failed >= strategy.max_unavailable:
        halted = f"{tally.failed} failed, {strategy.max_unavailable} may be unavailable: no further device is changed"
        return Claim("Progressing", "False", "Halted", halted)
    if tally.ready + tally.failed == tally.matched:
        return Claim("Progressing", "False", "Failed", "every device has reported")
    return Claim("Progressing", "True", "RollingOut", "waiting for devices")
