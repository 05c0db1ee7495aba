"""The decision of the operator: a pure function from everything known to everything that is to be done.

It is level-based. Nothing is remembered between two calls, so whatever was interrupted, lost or done by somebody else
is found again by looking. When nothing is left to do, it returns no action.
"""

from __future__ import annotations

from collections.abc import Callable

from fleet.operator.reconcile.actions import Action, stage
from fleet.operator.reconcile.deployments import reconcile_deployment
from fleet.operator.reconcile.devices import reconcile_device
from fleet.operator.reconcile.identities import admit
from fleet.operator.reconcile.placement import place
from fleet.operator.reconcile.snapshot import Snapshot
from fleet.operator.reconcile.upgrades import lead

__all__ = ["Action", "Snapshot", "reconcile"]


Trouble = Callable[[str, str, Exception], None]
"""Takes the kind and the name of an object, and the error that nobody foresaw and that its handling ended with."""


def _raised(_kind: str, _name: str, error: Exception) -> None:
    raise error


def reconcile(snapshot: Snapshot, trouble: Trouble = _raised) -> tuple[Action, ...]:
    """What to do, in the order in which to do it.

    A status tells what is true once the actions before it are done, so whoever carries them out stops at the first
    that fails. Devices' keys of which there is no `Device` are left alone: a server that looks at the wrong namespace
    must not take a fleet's workloads away. What nobody foresaw in one object is told to `trouble`; the others go
    on.
    """
    actions, admissions = admit(snapshot)
    wanted, tallies = place(snapshot)
    orders, upgrades = lead(snapshot)
    actions += orders
    for name, device in snapshot.devices.items():
        try:
            actions += reconcile_device(snapshot, device, admissions[name], wanted.get(name, {}), upgrades.get(name))
        except Exception as error:
            trouble("Device", name, error)
    for name, deployment in snapshot.deployments.items():
        try:
            actions += reconcile_deployment(deployment, tallies.get(name), snapshot.now)
        except Exception as error:
            trouble("FleetDeployment", name, error)
    return tuple(sorted(actions, key=stage))
