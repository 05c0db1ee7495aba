"""Agents' upgrades: what is known of each device, as `fleet.operator.upgrade` wants it, and what that decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fleet.contract.names import AgentVersion
from fleet.contract.objects import Device
from fleet.contract.upgrade import UpgradeReason
from fleet.contract.wire import Phase
from fleet.operator.new_condition import NewCondition
from fleet.operator.reconcile.actions import Action, WriteTarget
from fleet.operator.reconcile.snapshot import Snapshot, deadline, deleting, held
from fleet.operator.upgrade.decide import GRANT_EXPIRED, decide
from fleet.operator.upgrade.view import DeviceView, FleetView

_ON_THE_WAY = frozenset(
    {
        UpgradeReason.IN_PROGRESS,
        UpgradeReason.WAITING_FOR_LOCK,
        UpgradeReason.WAITING_FOR_RECONCILES,
        UpgradeReason.WAITING_FOR_HEALTH,
        UpgradeReason.OTHER,
    }
)
_GOOD = frozenset({UpgradeReason.CONFIRMED, UpgradeReason.ALREADY_RUNNING, UpgradeReason.WITHDRAWN})
UPGRADES_TOLD: Mapping[str, Literal["Normal", "Warning"]] = {
    "Ordered": "Normal",
    "RolloutHalted": "Warning",
    GRANT_EXPIRED: "Warning",
    **{
        reason.value: "Normal" if reason in _GOOD else "Warning"
        for reason in UpgradeReason
        if reason not in _ON_THE_WAY
    },
}
"""Reasons of the condition `Upgraded` that become an Event."""


def lead(snapshot: Snapshot) -> tuple[list[Action], dict[str, NewCondition]]:
    """The orders to write, and each device's condition `Upgraded`, where there is something to say."""
    views = {name: view_of(snapshot, device) for name, device in snapshot.devices.items() if held(device)}
    decisions = decide(FleetView(views, snapshot.published, snapshot.rules))
    orders: list[Action] = [
        WriteTarget(name, decision.target, views[name].target)
        for name, decision in decisions.items()
        if decision.target is not None
    ]
    return orders, {name: decision.condition for name, decision in decisions.items() if decision.condition is not None}


def view_of(snapshot: Snapshot, device: Device) -> DeviceView:
    """What `fleet.operator.upgrade` looks at of one device."""
    name, spec = device.metadata.name, device.spec
    info, holding = snapshot.infos.get(name), snapshot.leases.get(name)
    return DeviceView(
        wanted=AgentVersion(spec.agent_version) if spec.agent_version else None,
        order=spec.agent_order,
        versions_kept=spec.agent_versions_kept,
        target=snapshot.targets.get(name),
        status=info.upgrade if info else None,
        running=info.agent_version if info else None,
        beats=tuple(
            heard.heartbeat
            for heard in snapshot.agent_heartbeats.get(name, {}).values()
            if deadline(heard, snapshot.offline_after) > snapshot.clock
        ),
        lease=holding.lease if holding else None,
        lease_held_for=snapshot.clock - holding.since if holding else 0,
        healthy=_healthy(snapshot, name),
        online=snapshot.online(name),
        grant_over=_grant_over(snapshot, name),
        barred=spec.revoked or deleting(device),
    )


def _grant_over(snapshot: Snapshot, device: str) -> bool:
    """Whether the device has had the lock for its present attempt for as long as anybody may."""
    generation, since = snapshot.grants.get(device, (0, 0.0))
    target = snapshot.targets.get(device)
    given = target is not None and target.generation == generation
    return given and snapshot.clock - since > snapshot.rules.grant


def _healthy(snapshot: Snapshot, device: str) -> bool:
    """Whether everything that the device is ordered to run was reported as running, in the ordered generation."""
    index, states = snapshot.indexes.get(device), snapshot.states.get(device, {})
    wanted = index.deployments if index else {}
    return all(
        name in states and (states[name].generation, states[name].phase) == (generation, Phase.RUNNING)
        for name, generation in wanted.items()
    )
