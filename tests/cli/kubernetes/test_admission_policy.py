"""The API server warns of objects that no fleet server will see, and takes them all the same."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from fleet.contract.crd import deployment_crd, device_crd
from fleet.contract.objects import API_VERSION
from fleet.install.rbac import operator_rbac
from fleet.kube.client import KubeClient
from fleet.topology.capabilities import Json
from harness.wait import wait_until
from tests.cli.conftest import Fleet
from tests.support.kube import Kube

NOBODY = "no fleet server is installed in namespace"


def applied(kube: Kube, item: Json) -> str:
    """What `kubectl apply` says on standard error; the object is taken."""
    argv = ["kubectl", "--kubeconfig", str(kube.kubeconfig), "apply", "-f", "-"]
    done = subprocess.run(argv, input=json.dumps(item), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def deployment(namespace: str, image: str = "app:1") -> Json:
    spec = {"workload": {"type": "container", "image": image}, "selector": {}}
    meta = {"name": "web", "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "FleetDeployment", "metadata": meta, "spec": spec}


def device(namespace: str) -> Json:
    meta = {"name": "pi-1", "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "Device", "metadata": meta, "spec": {}}


def test_kubectl_warns_where_no_server_is_and_only_there(
    fleet: Fleet, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    client = KubeClient()
    client.apply([device_crd(), deployment_crd()])
    served, foreign = kube.namespace(), kube.namespace()
    client.apply(operator_rbac(served))
    answer = fleet("server", "admission-policy")
    assert answer.code == 0
    for item in yaml.safe_load_all(answer.out):
        assert NOBODY not in applied(kube, item)
    # The server compiles a policy some time after it has taken it.
    images = iter(range(10_000))
    wait_until(
        lambda: applied(kube, deployment(foreign, f"app:{next(images)}")),
        "the API server warns",
        timeout=60,
        until=lambda said: f"{NOBODY} {foreign}, so nothing becomes of this FleetDeployment" in said,
    )
    assert f"{NOBODY} {foreign}, so nothing becomes of this Device" in applied(kube, device(foreign))
    assert applied(kube, deployment(served)) == ""
    assert applied(kube, device(served)) == ""
    kube.kubectl("-n", foreign, "delete", "device", "pi-1")
    client.apply(operator_rbac(foreign))
    wait_until(
        lambda: applied(kube, deployment(foreign, f"app:{next(images)}")),
        "a server came",
        timeout=60,
        until=lambda said: said == "",
    )
