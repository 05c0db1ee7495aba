"""What Kubernetes does not take of one object is that object's trouble; the others are written, and true."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES, Condition, DeviceStatus
from fleet.kube.errors import ServerError
from fleet.operator.kube import KubeApi
from harness.errors import HarnessError
from harness.wait import wait_until
from tests.operator.test_kube import create, meta, with_api
from tests.support.kube import Kube
from tests.support.operator import Operator

Name = Callable[[str], str]

_ROOM = 1_572_864
"""Bytes that etcd takes in one request by default; a `<` takes six of them in an object."""


@pytest.mark.parametrize("size", [300_000, 600_000])
def test_an_object_that_etcd_or_the_api_server_refuses_for_its_size_is_no_outage(kinds: Kube, size: int) -> None:
    namespace = kinds.namespace()
    device = create(kinds, namespace, "pi-1")
    status = DeviceStatus(conditions=(Condition("Online", "True", "Because", "<" * size, "2026-01-01T00:00:00Z"),))

    async def body(api: KubeApi) -> None:
        with pytest.raises((ServerError, InvalidInput)) as raised:
            await api.patch_status("Device", meta(device), status)
        assert "does not answer" not in str(raised.value)
        assert (await api.list("Device"))[0], "it answers"

    with_api(kinds.kubeconfig, namespace, body)


def create_full(operator: Operator, name: str) -> None:
    """A device that just fits into etcd: nothing can be added to it."""
    for less in range(0, 3000, 10):
        body = {
            "apiVersion": API_VERSION,
            "kind": "Device",
            "metadata": {"name": name, "annotations": {"example.com/note": "<" * (_ROOM // 6 - 20 - less)}},
            "spec": {},
        }
        with contextlib.suppress(HarnessError):
            operator.objects.create(operator.objects.path(DEVICES), body)
            return
    raise AssertionError("no size fits")


def test_an_object_that_cannot_be_written_is_named_and_the_others_go_on(operator: Operator, name: Name) -> None:
    full, other, lost, app = name("pi"), name("pi"), name("pi"), name("web")
    create_full(operator, full)
    remarks = wait_until(operator.remarks, "it is named", timeout=30, until=lambda told: f"Device {full}" in str(told))
    assert "too large" in str(remarks)
    operator.add_device(other, labels={"for": app})
    operator.add_device(lost, subject=f"sub-{lost}")
    operator.deploy(app, select={"for": app})
    operator.beat(other, interval=3600)
    operator.await_condition(DEVICES, other, "Online", ("True", "HeartbeatReceived"))
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "InProgress"))
    operator.edit_device(lost, revoked=True)
    operator.await_condition(DEVICES, lost, "Revoked", ("True", "SessionsDropped"))
    assert operator.readiness() == "", "one object does not make it unready"
    assert operator.metric("fleet_operator_objects_unwritable") == 1
    told = [line for line in operator.log() if line.get("subject") == f"Device {full}" and line["level"] == "warning"]
    assert len(told) == 1, "it is told once"
    operator.delete_device(full)
    wait_until(operator.remarks, "it is settled when the object is gone", timeout=30, until=lambda told: told == [])


def refuse_info(operator: Operator, policy: str, arch: str) -> None:
    """The API server refuses a status that tells this architecture, as one whose schema has narrower limits does."""
    match = {"matchLabels": {"kubernetes.io/metadata.name": operator.namespace}}
    rules = [
        {
            "apiGroups": ["fleet.nationtech.io"],
            "apiVersions": ["*"],
            "operations": ["UPDATE"],
            "resources": ["devices/status"],
        }
    ]
    refused = f"!has(object.status) || !has(object.status.info) || object.status.info.arch != '{arch}'"
    spec = {"matchConstraints": {"namespaceSelector": match, "resourceRules": rules}}
    spec["validations"] = [{"expression": refused, "message": f"no {arch} here"}]  # type: ignore[assignment]
    admission = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": policy}}
    binding = {"policyName": policy, "validationActions": ["Deny"]}
    for kind, what in (("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", binding)):
        operator.kube.kubectl("apply", "-f", "-", stdin=json.dumps({**admission, "kind": kind, "spec": what}))


def test_an_info_that_is_refused_holds_up_no_condition_of_its_device(operator: Operator, name: Name) -> None:
    device, arch = name("pi"), name("arch")
    refuse_info(operator, name("no-arch"), arch)
    operator.add_device(device, subject=f"sub-{device}")
    operator.inform(device, arch="arm64")
    operator.beat(device, interval=0.3)
    operator.await_condition(DEVICES, device, "Online", ("False", "HeartbeatMissed"))

    def refused() -> tuple[str, str] | None:
        # A policy is heard of a moment after it is made.
        operator.inform(device, arch="arm64")
        operator.inform(device, arch=arch)
        return operator.condition(DEVICES, device, "InfoAccepted")

    wait_until(refused, "it is said", timeout=20, until=lambda seen: seen == ("False", "InfoRefused"), interval=0.5)
    wait_until(
        lambda: (operator.objects.device(device), operator.condition(DEVICES, device, "InfoAccepted")),
        "no info stands there",
        timeout=20,
        until=lambda seen: bool(seen[0] and seen[0].status.info is None and seen[1] == ("False", "InfoRefused")),
    )

    def heard() -> tuple[str, str] | None:
        # One beat is recent for less than a second, which a busy machine may miss.
        operator.beat(device, interval=0.3)
        return operator.condition(DEVICES, device, "Online")

    wait_until(heard, "it is online", timeout=30, until=lambda seen: seen == ("True", "HeartbeatReceived"))
    operator.await_condition(DEVICES, device, "Online", ("False", "HeartbeatMissed"))
    operator.edit_device(device, revoked=True)
    operator.await_condition(DEVICES, device, "Revoked", ("True", "SessionsDropped"))
    assert operator.readiness() == ""
    operator.inform(device, arch="riscv64")
    wait_until(
        lambda: operator.condition(DEVICES, device, "InfoAccepted"),
        "a good one is taken again",
        timeout=30,
        until=lambda seen: seen is None,
    )


def test_a_device_that_says_something_else_all_the_time_is_written_seldom(operator: Operator, name: Name) -> None:
    device = name("pi")
    operator.add_device(device)
    operator.beat(device, interval=3600)
    operator.inform(device, kernel="0")
    operator.await_condition(DEVICES, device, "Online", ("True", "HeartbeatReceived"))
    wait_until(lambda: kernel(operator, device), "it is told", timeout=30, until=lambda seen: seen == "0")
    before = operator.metric('fleet_operator_actions_total{kind="PatchDeviceStatus",outcome="done"}')
    for number in range(500):
        operator.inform(device, kernel=str(number))
    wait_until(lambda: kernel(operator, device), "the last is told", timeout=20, until=lambda seen: seen == "499")
    after = operator.metric('fleet_operator_actions_total{kind="PatchDeviceStatus",outcome="done"}')
    assert after - before <= 8


def kernel(operator: Operator, device: str) -> str:
    found = operator.objects.device(device)
    return found.status.info.kernel if found and found.status.info else ""
