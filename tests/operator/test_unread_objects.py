"""An object that is there and does not parse, such as one from before a limit, loses nothing that belongs to it."""

from __future__ import annotations

from fleet.contract.names import DeviceId
from fleet.contract.objects import FINALIZER, Device, DeviceSpec, Metadata
from fleet.contract.wire import Container, Desired, DesiredIndex, Identity, IdentityState
from fleet.operator.reconcile import reconcile
from fleet.operator.reconcile.actions import WriteIdentity
from fleet.operator.reconcile.placement import place
from fleet.operator.store import Store

RUNS = Desired(1, Container("web:1"))


def known(*devices: str) -> Store:
    store = Store(3)
    for name in devices:
        store.devices.items[name] = Device(Metadata(name, finalizers=(FINALIZER,)), DeviceSpec("sub-1"))
    store.put_identity("sub-1", Identity(DeviceId("pi-1"), IdentityState.ACTIVE))
    store.put_index("pi-1", DesiredIndex({"web": 1}))
    store.put_desired("pi-1", "web", RUNS)
    return store


def test_a_device_keeps_its_identity() -> None:
    store = known()
    assert any(isinstance(action, WriteIdentity) for action in reconcile(store.snapshot())), "no Device, no identity"
    store.unread["Device"].add("pi-1")
    assert reconcile(store.snapshot()) == ()


def test_a_deployment_keeps_running_where_it_runs() -> None:
    store = known("pi-1")
    assert place(store.snapshot())[0] == {"pi-1": {}}
    store.unread["FleetDeployment"].add("web")
    assert place(store.snapshot())[0] == {"pi-1": {"web": RUNS}}
