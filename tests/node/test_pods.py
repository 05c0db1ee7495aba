"""What pods find on a node: names of services, volumes, and ports that mean the same inside and outside."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import httpx
import pytest

from harness.errors import HarnessError
from harness.images import PAGE
from harness.images.server import Archive
from harness.probes.kube import KubeProbe
from harness.processes.spawn import http_answers
from harness.targets.node.node_cluster import NodeCluster
from harness.wait import wait_until
from tests.node.support import apply, await_rollout, kubectl, web


@pytest.fixture(scope="module")
def port(one: NodeCluster, busybox: Archive) -> int:
    """Module: the node port of a web server in the namespace `pods`."""
    port = one.plan.take_node_port()
    apply(one.kubeconfig, "pods", web("web", busybox.image, port))
    await_rollout(one.kubeconfig, "pods", "web")
    await_answer(port)
    return port


def await_answer(port: int) -> None:
    """A ready pod is reached a moment later, once kube-proxy has heard of it."""
    wait_until(lambda: http_answers(f"http://localhost:{port}/"), "the node port answers", timeout=30)


def pods(one: NodeCluster) -> str:
    return kubectl(one.kubeconfig, "-n", "pods", "get", "pods", "-l", "app=web", "-o", "name")


def test_a_node_port_answers_outside_on_127_0_0_1(port: int) -> None:
    assert httpx.get(f"http://localhost:{port}/", trust_env=False).content == PAGE


def test_a_pod_reaches_services_by_name_and_node_ports_by_localhost(one: NodeCluster, port: int) -> None:
    """The same URL means the same outside and inside; whatever else a pod asks for on its own 127.0.0.1 is its own."""
    script = (
        f"wget -qO- http://web/ && wget -qO- http://web.pods.svc.cluster.local/ && wget -qO- http://localhost:{port}/"
        " && ! wget -qO- http://localhost:81/ 2>/dev/null"
    )
    said = kubectl(one.kubeconfig, "-n", "pods", "exec", "deployment/web", "--", "sh", "-c", script)
    assert said.encode() == PAGE * 3


def test_a_volume_outlives_its_pod_and_goes_with_its_claim(one: NodeCluster, port: int) -> None:
    """Every claim of the default class gets a folder of its own."""
    kubectl(one.kubeconfig, "-n", "pods", "exec", "deployment/web", "--", "sh", "-c", "echo kept > /data/file")
    before = pods(one)
    kubectl(one.kubeconfig, "-n", "pods", "delete", "pod", "-l", "app=web", "--grace-period=0", "--force")
    wait_until(lambda: pods(one), "another pod takes its place", timeout=20, until=lambda now: now and now != before)
    kubectl(one.kubeconfig, "-n", "pods", "wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=50s")
    await_answer(port)
    assert kubectl(one.kubeconfig, "-n", "pods", "exec", "deployment/web", "--", "cat", "/data/file") == "kept\n"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    unused = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "unused"}, "spec": claim}
    with contextlib.closing(KubeProbe(one.kubeconfig, "pods")) as kube:
        path = "/api/v1/namespaces/pods/persistentvolumeclaims"
        kube.create(path, unused)
        bound = wait_until(
            lambda: (kube.get(f"{path}/unused") or {})["spec"].get("volumeName"), "the claim is bound", timeout=20
        )
        folder = Path((kube.get(f"/api/v1/persistentvolumes/{bound}") or {})["spec"]["hostPath"]["path"])
        assert folder.is_dir()
        kube.delete(f"{path}/unused")
        wait_until(lambda: not folder.exists(), "the folder of a deleted claim is gone", timeout=20)


def test_a_pod_of_an_image_that_is_not_there_says_so(one: NodeCluster, busybox: Archive, tmp_path: Path) -> None:
    """Nothing is pulled, and an archive that is none is refused."""
    del busybox
    (tmp_path / "no.tar").write_bytes(b"no archive")
    with pytest.raises(HarnessError, match=re.escape("n1 does not take no:1 from")):
        one.load([Archive("no:1", tmp_path / "no.tar")])
