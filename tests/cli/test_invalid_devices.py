"""A `Device` whose spec does not parse hides no other one, and no command decides about it.

Our definition refuses such a one, so that it can only be from before that, or beside another definition.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from fleet.cli.context import as_json, read, read_all
from fleet.cli.device_keys import Asked
from fleet.cli.invalid import InvalidDeployment, InvalidDevice, invalid_details, refuse_invalid, typed
from fleet.cli.standing import revoked, status_of
from fleet.contract.errors import InvalidInput
from fleet.contract.objects import Device, FleetDeployment
from fleet.contract.wire import encode
from fleet.doctor.cluster import check_devices
from fleet.doctor.findings import Worrying
from fleet.kube.client import KubeClient
from tests.contract.samples import SAMPLES

ONLINE = {"type": "Online", "status": "True", "reason": "HeartbeatReceived", "message": "", "lastTransitionTime": ""}
INFO: Any = msgspec.json.decode(encode(SAMPLES["device-info"]))
BAD: list[Any] = [{"labels": [1]}, {"revoked": "yes"}, "a word", {"subject": "x" * 200}, {"tokensAfter": -1}]


def device(name: str, spec: object, status: object = None) -> dict[str, Any]:
    return {
        "apiVersion": "fleet.nationtech.io/v1alpha1",
        "kind": "Device",
        "metadata": {"name": name, "namespace": "fleet-system", "labels": {"site": "lab"}},
        "spec": spec,
        "status": {"conditions": [ONLINE], "info": INFO} if status is None else status,
    }


def cluster(*items: dict[str, Any]) -> KubeClient:
    def find(kind: str, name: str, namespace: str) -> object:
        return next(one for one in items if one["metadata"]["name"] == name)

    def list_raw(kind: str, namespace: str) -> list[bytes]:
        return [msgspec.json.encode(one) for one in items]

    return cast("KubeClient", SimpleNamespace(find=find, list_raw=list_raw))


@pytest.mark.parametrize("spec", BAD, ids=str)
def test_it_is_listed_with_its_reason_beside_the_others(spec: object) -> None:
    bad, good = read_all(cluster(device("pi-1", spec), device("pi-2", {})), Device, "fleet-system")
    assert isinstance(bad, InvalidDevice)
    assert status_of(bad, "Online") == ("Unknown", "InvalidSpec"), "what it was before is not said of it now"
    assert revoked(bad) == "-"
    assert status_of(good, "Online") == ("True", "HeartbeatReceived")
    shown = json.loads(msgspec.json.encode(as_json(bad)))
    assert shown["spec"] == spec, "a program gets what Kubernetes holds"
    assert shown["status"]["info"]["agentVersion"] == INFO["agentVersion"]
    with pytest.raises(Worrying, match="1 of 2 devices: pi-1 InvalidSpec"):
        check_devices([bad, good])


def test_a_command_that_needs_its_spec_names_it_and_how_to_correct_it() -> None:
    kube = cluster(device("pi-1", {"revoked": "yes"}), device("pi-2", {}))
    with pytest.raises(InvalidInput, match=r"the Device 'pi-1' is invalid: .*revoked") as refused:
        read(kube, Device, "pi-1", "fleet-system")
    assert refused.value.next_step == "correct it: kubectl edit device pi-1 -n fleet-system"
    assert read(kube, Device, "pi-2", "fleet-system").metadata.name == "pi-2"
    with pytest.raises(InvalidInput, match="'pi-1'"):
        refuse_invalid(read_all(kube, Device, "fleet-system"))


def test_a_command_for_several_devices_does_without_it() -> None:
    asked = Asked([], "!old", abort=False, dry_run=False, wait=True)
    kube = cluster(device("pi-1", {"revoked": "yes"}), device("pi-2", {"subject": "7"}))
    assert asked.chosen(kube, "fleet-system") == {"pi-2": "7"}
    assert [one.metadata.name for one in asked.left_out] == ["pi-1"]
    with pytest.raises(InvalidInput, match="1 left out") as alone:
        asked.chosen(cluster(device("pi-1", {"revoked": "yes"})), "fleet-system")
    assert "the Device 'pi-1' is invalid" in alone.value.more[0]


def test_what_no_device_was_ordered_is_no_generation_that_devices_run() -> None:
    """A deployment whose Secret was missing, and whose spec does not parse now."""
    told = {"name": "web", "generation": 0, "phase": "Pending", "reason": "SecretMissing"}
    (item,) = read_all(cluster(device("pi-1", {}, {"workloads": [told]})), Device, "fleet-system")
    bad = typed({**device("web", 7), "kind": "FleetDeployment"}, FleetDeployment)
    assert isinstance(bad, InvalidDeployment)
    assert [name for name, _ in invalid_details(bad, [item])] == ["deployment", "spec"]


@pytest.mark.parametrize("status", ["a word", {"conditions": 7}, {"deployments": -1}], ids=str)
def test_a_status_that_does_not_parse_counts_as_none(status: object) -> None:
    (item,) = read_all(cluster(device("pi-1", {"revoked": True}, status)), Device, "fleet-system")
    assert item.spec.revoked
    assert not isinstance(item, InvalidDevice)
    assert status_of(item, "Online") == ("Unknown", "NotYetSeen")
