"""The decision of the operator: a pure function from everything known to everything that is to be done.

It is level-based. Nothing is remembered between two calls, so whatever was interrupted, lost or done by somebody else
is found again by looking. When nothing is left to do, it returns no action.
"""

from __future__ import annotations

from fleet.operator.reconcile.actions import Action, stage
from fleet.operator.reconcile.deployments import reconcile_deployment, reconcile_unparsed
from fleet.operator.reconcile.devices import reconcile_device
from fleet.operator.reconcile.guard import Guard, Trouble, raised
from fleet.operator.reconcile.identities import admit
from fleet.operator.reconcile.placement import DevicePlacement, place_deployments
from fleet.operator.reconcile.snapshot import Snapshot
from fleet.operator.reconcile.upgrades import lead

__all__ = ["Action", "Snapshot", "reconcile"]


def reconcile(snapshot: Snapshot, trouble: Trouble = raised) -> tuple[Action, ...]:
    """What to do, in the order in which to do it.

    A status tells what is true once the actions before it are done, so the caller stops at the first action that
    fails. Devices' keys of which there is no `Device` are left alone: a server that looks at the wrong namespace
    must not take a fleet's workloads away. An unexpected error of one object is reported to `trouble`; the others
    go on.
    """
    actions, admissions = admit(snapshot)
    placements, tallies = place_deployments(snapshot)
    orders, upgrades = lead(snapshot)
    actions += orders
    guard = Guard(trouble)
    for name, device in snapshot.devices.items():
        with guard.of("Device", name):
            actions += reconcile_device(
                snapshot, device, admissions[name], placements.get(name, DevicePlacement()), upgrades.get(name)
            )
    for name, deployment in snapshot.deployments.items():
        with guard.of("FleetDeployment", name):
            actions += reconcile_deployment(deployment, tallies.get(name), snapshot.now)
    for name, refused in snapshot.unparsed_deployments.items():
        with guard.of("FleetDeployment", name):
            actions += reconcile_unparsed(refused, snapshot.now)
    return tuple(sorted(actions, key=stage))
