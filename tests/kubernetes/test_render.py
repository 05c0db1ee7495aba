"""The plan as objects: held to the real API server, which refuses what it does not know, and to what each must be."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.install.plan import server_objects
from fleet.kube.client import KubeClient
from fleet.topology.capabilities import Endpoint, Json
from fleet.topology.kubernetes.shape import Exposure, Shape, endpoints
from tests.kubernetes.conftest import ADDRESS, SHAPE, rendered
from tests.support.kube import Kube

THREE = msgspec.structs.replace(SHAPE, nats_replicas=3, user=None, pull_secret="registry", pull_policy="Always")
BY_NAME = Endpoint("nats.example.org", 443)
SHAPES = {
    "one": SHAPE,
    "three": THREE,
    "balanced": msgspec.structs.replace(SHAPE, exposure=Exposure.LOAD_BALANCER),
    "ingress": msgspec.structs.replace(SHAPE, exposure=Exposure.INGRESS, nats_address=BY_NAME, ingress_class="nginx"),
}


def found(objects: tuple[Json, ...], kind: str, name: str) -> Json:
    (item,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return item


def workloads(objects: tuple[Json, ...]) -> Iterator[Json]:
    yield from (item for item in objects if item["kind"] in {"Deployment", "StatefulSet"})


def free_port(shape: Shape, number: int) -> Shape:
    """Node ports belong to the whole cluster."""
    if shape.exposure is not Exposure.NODE_PORT:
        return shape
    return msgspec.structs.replace(shape, nats_address=Endpoint(ADDRESS.host, 31000 + number))


@pytest.mark.parametrize("name", SHAPES)
def test_the_api_server_takes_every_object_and_a_second_time_changes_none(
    client: KubeClient, home: str, secrets: Path, name: str
) -> None:
    objects = rendered(free_port(SHAPES[name], list(SHAPES).index(name)), home, secrets)
    assert all(item.changed for item in client.apply(objects))
    assert [item.name for item in client.apply(objects) if item.changed] == []


@pytest.mark.parametrize("name", SHAPES)
def test_no_field_is_one_that_kubernetes_does_not_know(client: KubeClient, home: str, secrets: Path, name: str) -> None:
    """An apply drops what it does not know without a word, unless asked to be strict."""
    for item in rendered(SHAPES[name], home, secrets):
        meta = item["metadata"]
        group = item["apiVersion"]
        prefix = f"apis/{group}" if "/" in group else f"api/{group}"
        plural = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}.get(
            item["kind"], item["kind"].lower() + "s"
        )
        path = f"{prefix}/namespaces/{home}/{plural}/{meta['name']}?dryRun=All&fieldManager=x&fieldValidation=Strict"
        client.request("PATCH", path, item, content="application/apply-patch+yaml")


@pytest.mark.parametrize("name", SHAPES)
def test_the_restricted_pod_security_standard_takes_every_pod(kube: Kube, home: str, secrets: Path, name: str) -> None:
    for item in workloads(rendered(SHAPES[name], home, secrets)):
        template = item["spec"]["template"]
        claims = [
            {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": "any"}}
            for claim in item["spec"].get("volumeClaimTemplates", [])
        ]
        template["spec"]["volumes"] += claims
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": item["metadata"]["name"]}, **template}
        pod["metadata"] = {**template["metadata"], "name": item["metadata"]["name"]}
        kube.kubectl("-n", home, "create", "-f", "-", stdin=msgspec.json.encode(pod).decode())


def test_a_pod_with_more_privilege_would_be_refused(kube: Kube, home: str, secrets: Path) -> None:
    """Else the test above proves nothing."""
    # A copy, for what is rendered shares constants.
    template = copy.deepcopy(found(rendered(SHAPE, home, secrets), "Deployment", "fleet-callout")["spec"]["template"])
    del template["spec"]["containers"][0]["securityContext"]["capabilities"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "greedy"}}
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted:latest": unrestricted capabilities'):
        kube.kubectl("-n", home, "create", "-f", "-", stdin=msgspec.json.encode(pod).decode())


@pytest.mark.parametrize("shape", [SHAPE, THREE], ids=["pinned", "assigned"])
def test_the_user_is_pinned_only_when_asked(secrets: Path, shape: Shape) -> None:
    for item in workloads(rendered(shape, "here", secrets)):
        security = item["spec"]["template"]["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security.get("runAsUser") == security.get("fsGroup") == shape.user


def test_replicas_have_a_budget_and_are_spread(secrets: Path) -> None:
    objects = rendered(THREE, "here", secrets)
    assert {item["metadata"]["name"] for item in objects if item["kind"] == "PodDisruptionBudget"} == {
        "fleet-nats",
        "fleet-callout",
    }
    spread = {
        item["metadata"]["name"]: "topologySpreadConstraints" in item["spec"]["template"]["spec"]
        for item in workloads(objects)
    }
    assert spread == {"fleet-nats": True, "fleet-callout": True, "fleet-operator": False}


def test_only_the_operator_has_an_account_and_is_never_two(secrets: Path) -> None:
    for item in workloads(rendered(SHAPE, "here", secrets)):
        ours = item["metadata"]["name"] == "fleet-operator"
        pod = item["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is ours
        assert ("serviceAccountName" in pod) is ours
        if ours:
            assert (item["spec"]["replicas"], item["spec"]["strategy"]) == (1, {"type": "Recreate"})


def test_other_files_replace_the_pods_that_read_them_and_no_others(secrets: Path, tmp_path: Path) -> None:
    def digests(folder: Path, shape: Shape) -> dict[str, Any]:
        return {
            item["metadata"]["name"]: item["spec"]["template"]["metadata"]["annotations"]
            for item in workloads(rendered(shape, "here", folder))
        }

    before = digests(secrets, SHAPE)
    assert digests(secrets, SHAPE) == before
    moved = digests(secrets, msgspec.structs.replace(SHAPE, nats_address=Endpoint("other.example.org", 30422)))
    replaced = {name for name in before if before[name] != moved[name]}
    assert "fleet-nats" in replaced, "its certificate names the host"
    # The operator is told in whole seconds when that certificate ends; both may have been made within one.
    assert replaced <= {"fleet-nats", "fleet-operator"}
    assert {name for name in before if before[name] != digests(tmp_path, SHAPE)[name]} == set(before)


def test_secrets_are_in_secrets_only(secrets: Path) -> None:
    objects = rendered(THREE, "here", secrets)
    shown = msgspec.json.encode([item for item in objects if item["kind"] != "Secret"]).decode()
    words = [path.read_text().splitlines() for path in secrets.iterdir()]
    assert not [line for lines in words for line in lines[:2] if line in shown and not line.startswith("-----")]


def test_three_servers_of_nats_name_each_other(secrets: Path) -> None:
    objects = rendered(THREE, "here", secrets)
    data = found(objects, "Secret", "fleet-nats")["data"]
    config = msgspec.json.decode(base64.b64decode(data["nats.json"]))
    routes = [route.rpartition("@")[2] for route in config["cluster"]["routes"]]
    assert routes == [f"fleet-nats-{number}.fleet-nats-peers.here.svc:6222" for number in range(3)]
    assert config["cluster"]["tls"]["ca_file"] == "/etc/fleet/ca.crt"
    stateful = found(objects, "StatefulSet", "fleet-nats")["spec"]
    assert (stateful["replicas"], stateful["serviceName"]) == (3, "fleet-nats-peers")
    assert stateful["template"]["spec"]["containers"][0]["args"][-2:] == ["--name", "$(POD_NAME)"]
    operator = msgspec.json.decode(
        base64.b64decode(found(objects, "Secret", "fleet-operator")["data"]["operator.json"])
    )
    assert operator["streamReplicas"] == 3


def test_a_route_hands_tls_through(secrets: Path) -> None:
    shape = msgspec.structs.replace(SHAPE, exposure=Exposure.ROUTE, nats_address=BY_NAME)
    spec = found(rendered(shape, "here", secrets), "Route", "fleet-nats-public")["spec"]
    assert (spec["host"], spec["tls"], spec["to"]["name"]) == (
        "nats.example.org",
        {"termination": "passthrough"},
        "fleet-nats",
    )


def test_the_namespace_enforces_the_restricted_standard() -> None:
    (namespace,) = [item for item in server_objects("here") if item["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("exposure", Exposure)
def test_devices_behind_a_router_begin_with_tls(exposure: Exposure) -> None:
    behind = exposure in {Exposure.INGRESS, Exposure.ROUTE}
    assert endpoints("here", msgspec.structs.replace(SHAPE, exposure=exposure)).nats_tls_first is behind
