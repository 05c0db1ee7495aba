"""What a cluster refuses, and what is in the way: a clear reason, nothing harmed, and a repeat that succeeds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.contract.crd import device_crd
from fleet.install.rbac import CAPABILITIES
from fleet.kube import client as client_module
from fleet.kube import http as kube_http
from fleet.kube.client import KubeClient
from fleet.kube.paths import KINDS
from fleet.topology.capabilities import Json
from harness.wait import wait_until
from tests.cli.conftest import Fleet, install_words
from tests.cli.kubernetes.conftest import Install, State
from tests.doubles.zitadel.idp import Idp
from tests.support.faulty import FaultyKube, none
from tests.support.kube import Kube

DEFINITION = "devices.fleet.nationtech.io"


def create(kube: Kube, *items: dict[str, Any]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": list(items)}
    kube.kubectl("create", "-f", "-", stdin=msgspec.json.encode(listed).decode())


@pytest.mark.usefixtures("controllers")
@pytest.mark.parametrize("kind", ["NetworkPolicy", "CustomResourceDefinition", "StatefulSet"])
def test_no_rights_for_one_kind(
    install: Install, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = f"installer-{namespace}"
    kubeconfig = kube.service_account("default", name)
    create_role(kube, name, without=kind)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    answer = install()
    assert answer.code == 7, answer
    assert f"does not let us do this in {namespace}: get {kind}, create {kind}, patch {kind}\n" in answer.err
    assert "ask the cluster's admin for these rights" in answer.err
    assert namespace not in kube.kubectl("get", "namespaces", "-o", "name").split("/")
    kube.kubectl("delete", "clusterrole,clusterrolebinding", name)
    create_role(kube, name, without="")
    assert install().code == 0


def resource(kind: str) -> tuple[str, str]:
    """A kind's API group and its plural, as roles have them."""
    prefix, plural, _ = KINDS[kind]
    return (prefix.split("/")[1] if prefix.startswith("apis/") else "", plural)


def create_role(kube: Kube, name: str, without: str) -> None:
    """Every right that an install needs, but for those on one kind."""
    rules: list[dict[str, Any]] = []
    for kind in KINDS.keys() - {without}:
        group, plural = resource(kind)
        rules.append({"apiGroups": [group], "resources": [plural], "verbs": ["*"]})
    # Nobody grants what they do not have.
    rules += [{"apiGroups": [c.group], "resources": [c.resource], "verbs": [c.verb]} for c in CAPABILITIES]
    api = "rbac.authorization.k8s.io"
    meta, subject = {"name": name}, {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    role = {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}
    binding = {"apiVersion": f"{api}/v1", "kind": "ClusterRoleBinding", "metadata": meta, "subjects": [subject]}
    create(kube, role, binding | {"roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": name}})
    for kind in {"Lease", "NetworkPolicy", "CustomResourceDefinition", "StatefulSet"} - {without}:
        group, plural = resource(kind)
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:default:{name}",
                "resourceAttributes": {"group": group, "resource": plural, "verb": "get"},
            },
        }
        # The API server hears of a role a moment after it is made.
        wait_until(
            lambda asked=asked: kube.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(asked)),
            f"{name} may get {plural}",
            timeout=30,
            until=lambda answer: json.loads(answer)["status"]["allowed"],
        )


@pytest.mark.usefixtures("controllers")
def test_a_quota_that_is_exceeded(install: Install, kube: Kube, namespace: str, state: State) -> None:
    kube.kubectl("create", "namespace", namespace)
    hard = {"count/deployments.apps": "0"}
    kube.kubectl("-n", namespace, "create", "quota", "none", "--hard=count/deployments.apps=0")
    # As the quota controller would.
    status = json.dumps({"status": {"hard": hard, "used": hard}})
    kube.kubectl("-n", namespace, "patch", "quota", "none", "--subresource=status", "--type=merge", "-p", status)
    before = state()
    answer = install()
    assert answer.code == 7, answer
    assert "exceeded quota: none" in answer.err
    assert "ask for a larger quota" in answer.err
    assert state() == before
    kube.kubectl("-n", namespace, "delete", "quota", "none")
    assert install().code == 0


@pytest.mark.usefixtures("controllers")
def test_a_storage_class_that_is_missing(install: Install, kube: Kube, namespace: str) -> None:
    answer = install("--storage-class", "fast")
    assert answer.code == 4, answer
    assert "has no such class" in answer.err
    assert namespace not in kube.kubectl("get", "namespaces", "-o", "name")
    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}}
    create(kube, storage | {"provisioner": "example.org/none"})
    assert install("--storage-class", "fast").code == 0


@pytest.mark.usefixtures("controllers")
def test_a_port_that_is_taken(install: Install, kube: Kube, namespace: str, port: int) -> None:
    theirs = kube.namespace()
    kube.kubectl("-n", theirs, "create", "service", "nodeport", "theirs", "--tcp=80", f"--node-port={port}")
    answer = install()
    assert answer.code == 2, answer
    assert f"{port}" in answer.err
    assert "port is already allocated" in answer.err
    assert kube.kubectl("-n", namespace, "get", "deployments,statefulsets", "-o", "name") == ""
    kube.kubectl("-n", theirs, "delete", "service", "theirs")
    assert install().code == 0


@pytest.fixture
def definition(kube: Kube) -> Iterator[None]:
    """Leaves the definitions as this release has them, for they belong to the whole cluster."""
    yield
    found = json.loads(kube.kubectl("get", "crd", DEFINITION, "-o", "json"))
    if [version["name"] for version in found["spec"]["versions"]] != ["v1alpha1"]:
        remove_definition(kube)
    KubeClient().apply([device_crd()])


def remove_definition(kube: Kube) -> None:
    """With the devices that earlier tests left: no operator would take their finalizers off, so it would never go."""
    if not kube.kubectl("get", "crd", DEFINITION, "--ignore-not-found", "-o", "name"):
        return
    for device in json.loads(kube.kubectl("get", DEFINITION, "-A", "-o", "json"))["items"]:
        name, namespace = device["metadata"]["name"], device["metadata"]["namespace"]
        free = '{"metadata":{"finalizers":null}}'
        kube.kubectl("-n", namespace, "patch", DEFINITION, name, "--type=merge", "-p", free)
    kube.kubectl("delete", "crd", DEFINITION)


@pytest.mark.usefixtures("controllers", "definition")
def test_definitions_of_an_earlier_release_are_brought_up_to_date(install: Install, kube: Kube, namespace: str) -> None:
    earlier = device_crd()
    (version,) = earlier["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del schema["agentVersion"], version["additionalPrinterColumns"][3:]
    KubeClient().apply([earlier])
    kube.kubectl("create", "namespace", namespace)
    device = {"apiVersion": "fleet.nationtech.io/v1alpha1", "kind": "Device", "spec": {"subject": "s1"}}
    create(kube, {**device, "metadata": {"name": "pi-1", "namespace": namespace}})
    look = install("--dry-run")
    assert f"would change  CustomResourceDefinition {DEFINITION}" in look.out
    assert 'properties.agentVersion.type: (none) → "string"' in look.out
    assert install().code == 0
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", '{"spec":{"agentVersion":"v0.1.0"}}')
    kept = json.loads(kube.kubectl("-n", namespace, "get", "device", "pi-1", "-o", "json"))
    assert (kept["spec"]["subject"], kept["spec"]["agentVersion"]) == ("s1", "v0.1.0")


@pytest.mark.usefixtures("controllers", "definition")
def test_definitions_of_a_later_release_stay(install: Install, kube: Kube) -> None:
    later = device_crd()
    later["metadata"]["annotations"] = {"fleet.nationtech.io/release": "v9.0.0"}
    (version,) = later["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["future"] = {"type": "string"}
    KubeClient().apply([later])
    assert install().code == 0
    found = json.loads(kube.kubectl("get", "crd", DEFINITION, "-o", "json"))
    assert found["metadata"]["annotations"]["fleet.nationtech.io/release"] == "v9.0.0"
    properties = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert "future" in properties


@pytest.mark.usefixtures("controllers", "definition")
def test_definitions_that_we_cannot_speak_to(install: Install, kube: Kube, namespace: str) -> None:
    remove_definition(kube)
    other = device_crd()
    other["spec"]["versions"][0]["name"] = "v2"
    KubeClient().apply([other])
    answer = install()
    assert answer.code == 5, answer
    assert f"CustomResourceDefinition {DEFINITION} serves v2, and this release needs v1alpha1" in answer.err
    assert namespace not in kube.kubectl("get", "namespaces", "-o", "name")
    remove_definition(kube)
    assert install().code == 0


@pytest.mark.usefixtures("controllers")
def test_a_foreign_object_of_our_name(install: Install, kube: Kube, namespace: str, state: State) -> None:
    kube.kubectl("create", "namespace", namespace)
    kube.kubectl("-n", namespace, "create", "deployment", "fleet-callout", "--image=theirs")
    kube.kubectl("-n", namespace, "create", "service", "clusterip", "fleet-nats", "--tcp=1")
    before = state()
    answer = install()
    assert answer.code == 5, answer
    for kind, name in (("Deployment", "fleet-callout"), ("Service", "fleet-nats")):
        assert f"there is a {kind} {name} in {namespace} already, and it is not ours (made by: kubectl" in answer.err
    assert state() == before
    kube.kubectl("-n", namespace, "delete", "deployment/fleet-callout", "service/fleet-nats")
    assert install().code == 0


@pytest.mark.usefixtures("controllers")
def test_a_field_that_another_manager_set(install: Install, kube: Kube, namespace: str, state: State) -> None:
    assert install().code == 0
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "fleet-callout", "namespace": namespace},
        "spec": {"replicas": 7},
    }
    words = ("apply", "--server-side", "--force-conflicts", "--field-manager=argocd", "-f", "-")
    kube.kubectl(*words, stdin=msgspec.json.encode(theirs).decode())
    before = state()
    answer = install("--image", "fleet:next")
    assert answer.code == 5, answer
    assert "argocd set these fields: let it release them first" in answer.err
    assert ".spec.replicas" in answer.err
    assert state() == before


def test_a_kubeconfig_that_has_expired(install: Install, kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kube.with_token("expired")))
    answer = install()
    assert answer.code == 7, answer
    assert "log in to the cluster again: the credentials expired" in answer.err


@pytest.mark.usefixtures("controllers")
def test_two_installs_at_once(idp: Idp, kube: Kube, namespace: str, port: int, install: Install) -> None:
    argv = [sys.executable, "-c", "from fleet.cli.main import main; main()", *install_words(idp)]
    argv += ["--nats-address", f"nats.example.org:{port}"]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    again = install("--output", "json")
    assert (again.code, again.json["changed"]) == (0, []), again
    pods = json.loads(kube.kubectl("-n", namespace, "get", "deployments", "-o", "json"))["items"]
    assert len(pods) == 2


@pytest.mark.usefixtures("controllers")
def test_a_namespace_that_is_stuck_in_deletion(install: Install, kube: Kube, namespace: str) -> None:
    kube.kubectl("create", "namespace", namespace)
    kube.kubectl("delete", "namespace", namespace, "--wait=false")
    answer = install()
    assert answer.code == 5, answer
    assert f"Namespace {namespace} is being deleted since " in answer.err
    assert "wait until it is gone" in answer.err
    found = json.loads(kube.kubectl("get", "namespace", namespace, "-o", "json"))
    found["spec"]["finalizers"] = []
    KubeClient().request("PUT", f"api/v1/namespaces/{namespace}/finalize", found)
    assert install().code == 0


@pytest.fixture
def faulty(kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str) -> Iterator[FaultyKube]:
    """A proxy between the command and the API server."""
    del namespace
    with FaultyKube(kube, tmp_path).run() as proxy:
        monkeypatch.setenv("KUBECONFIG", str(proxy.kubeconfig))
        yield proxy


@pytest.mark.usefixtures("controllers")
def test_an_api_server_that_stumbles_is_asked_again(install: Install, faulty: FaultyKube) -> None:
    faulty.fault = lambda _method, _path, number: {3: 429, 9: 500, 20: 504, 40: 503}.get(number, 0)
    answer = install()
    assert answer.code == 0, answer
    assert faulty.requests > 40


@pytest.mark.usefixtures("controllers")
@pytest.mark.parametrize("status", [504, -1], ids=["answers 504", "hangs"])
def test_an_api_server_that_stays_ill(
    install: Install, faulty: FaultyKube, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    faulty.fault = lambda method, path, _: status if method == "PATCH" and "statefulsets" in path else 0
    # A busy machine needs its time for the second install.
    with monkeypatch.context() as impatient:
        impatient.setattr(client_module, "_OUTAGE", 0.5)
        if status < 0:
            impatient.setattr(kube_http, "_ANSWER", 1.0)
        answer = install()
    assert answer.code == 6, answer
    assert "does not answer" in answer.err
    assert (str(status) if status > 0 else "timed out") in answer.err
    faulty.fault = none
    assert install().code == 0


@pytest.mark.usefixtures("controllers")
@pytest.mark.parametrize("writes", [0, 4, 12, 20, 27])
def test_an_install_that_dies_at_any_point_goes_on(
    install: Install, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    left = [writes]
    real = KubeClient.request
    ours = threading.get_ident()

    def mortal(
        self: KubeClient, method: str, path: str, body: Json | None = None, *, content: str = "application/json"
    ) -> Json:
        looks = method == "GET" or "dryRun" in path or "accessreviews" in path
        if threading.get_ident() == ours and not looks:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return real(self, method, path, body, content=content)

    monkeypatch.setattr(KubeClient, "request", mortal)
    assert install().code == 130
    monkeypatch.setattr(KubeClient, "request", real)
    done = install("--output", "json")
    assert done.code == 0, done
    assert install("--output", "json").json["changed"] == []
    assert fleet("server", "uninstall", "--delete-data").code == 0
