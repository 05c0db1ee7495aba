"""An object that is there and does not parse, such as one from before a limit, loses nothing that belongs to it."""

from __future__ import annotations

import msgspec
import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.names import DeviceId
from fleet.contract.objects import FINALIZER, Device, DeviceSpec, Metadata
from fleet.contract.wire import Container, Desired, DesiredIndex, Identity, IdentityState
from fleet.operator.objects import parse
from fleet.operator.reconcile import reconcile
from fleet.operator.reconcile.actions import PatchDeploymentStatus, WriteIdentity
from fleet.operator.reconcile.placement import place_deployments
from fleet.operator.reconcile.snapshot import Unparsed
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
    store.unparsed["Device"].put(Unparsed(Metadata("pi-1", resource_version="1"), "too long"))
    assert reconcile(store.snapshot()) == ()


def test_a_deployment_keeps_running_where_it_runs() -> None:
    store = known("pi-1")
    assert place_deployments(store.snapshot())[0]["pi-1"].wanted == {}
    store.unparsed["FleetDeployment"].put(Unparsed(Metadata("web", resource_version="1"), "too long"))
    assert place_deployments(store.snapshot())[0]["pi-1"].wanted == {"web": RUNS}


def test_a_deployments_conditions_say_why_and_its_counts_are_of_no_device() -> None:
    store = known("pi-1")
    store.unparsed["FleetDeployment"].put(Unparsed(Metadata("web", generation=2, resource_version="7"), "a circle"))
    (action,) = [one for one in reconcile(store.snapshot()) if isinstance(one, PatchDeploymentStatus)]
    told = {one.type: (one.status, one.reason, one.observed_generation) for one in action.status.conditions}
    assert told == {"Ready": ("False", "InvalidSpec", 2), "Progressing": ("False", "InvalidSpec", 2)}
    assert "a circle" in action.status.conditions[0].message
    assert (action.status.observed_generation, action.status.matched) == (2, 0)
    said = Unparsed(Metadata("web", generation=2, resource_version="8"), "a circle", action.status)
    store.unparsed["FleetDeployment"].put(said)
    assert not [one for one in reconcile(store.snapshot()) if isinstance(one, PatchDeploymentStatus)]


def test_an_object_whose_resource_version_is_no_number_is_kept_too() -> None:
    store = known("pi-1")
    store.unparsed["FleetDeployment"].put(Unparsed(Metadata("web", resource_version="a1"), "its resourceVersion"))
    assert place_deployments(store.snapshot())[0]["pi-1"].wanted == {"web": RUNS}


def test_a_device_that_is_being_deleted_goes_whatever_its_spec_says() -> None:
    about = {"name": "pi-1", "resourceVersion": "1", "finalizers": [FINALIZER]}
    item = {"apiVersion": "fleet.nationtech.io/v1alpha1", "kind": "Device", "metadata": about, "spec": {"labels": [1]}}
    with pytest.raises(InvalidInput):
        parse(msgspec.json.encode(item), Device)
    item["metadata"] = {**about, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    found = parse(msgspec.json.encode(item), Device)
    assert found.spec.revoked, "nobody lets it in meanwhile"
    assert found.metadata.finalizers == (FINALIZER,)
