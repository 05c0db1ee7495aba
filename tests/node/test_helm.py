"""The chart on a real node by a real helm: installed from a registry, upgraded, rolled back, and removed."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from fleet.chart.publish import publish
from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP
from fleet.topology.capabilities import Json
from harness.binaries import resolve
from harness.images import server as images
from harness.probes.kube import KubeProbe
from harness.targets.identity import ZitadelDouble
from harness.targets.node import identity
from harness.targets.node.node_cluster import NodeCluster
from tests.node.support import kubectl
from tests.support.helm import Helm, running_registry

NAMESPACE = "fleet-by-helm"
_COMPONENT = "app.kubernetes.io/component"
_SECRETS = ("fleet-secrets", "fleet-nats", "fleet-callout", "fleet-operator")


class Release:
    """A release of the chart on a cluster, and what an admin sees of it."""

    def __init__(
        self, node_cluster: NodeCluster, provider: ZitadelDouble, helm: Helm, chart: str, values: Json
    ) -> None:
        self._cluster = node_cluster
        self._provider = provider
        self._helm = helm
        self._chart = chart
        self._values = values
        self.port: int = values["nats"]["port"]

    def helm(self, verb: str, *words: str, **changes: object) -> None:
        """Install or upgrade with changed values, and wait until all is ready."""
        values = {**self._values, **changes}
        more = ("--plain-http", "--values", self._helm.values(values))
        self._call(verb, "fleet", self._chart, *more, *words)

    def install_directly(self) -> None:
        """What the chart installs, without a chart."""
        provider = self._provider
        issuer = ("--issuer", provider.issuer, "--issuer-ca", str(provider.ca))
        images = ("--image", self._values["image"], "--nats-image", self._values["natsImage"], "--pull-policy", "Never")
        address = ("--nats-address", f"localhost:{self.port}", "--exposure", "node-port")
        self._fleet("install", *issuer, "--admin-token-file", str(provider.admin_token_file), *images, *address)

    def rollback(self) -> None:
        self._call("rollback", "fleet", "--wait")

    def uninstall(self) -> None:
        self._call("uninstall", "fleet", "--wait")

    def _call(self, *words: str) -> None:
        kubeconfig = str(self._cluster.kubeconfig)
        done = self._helm.call(*words, "--namespace", NAMESPACE, "--kubeconfig", kubeconfig, "--timeout", "100s")
        assert done.returncode == 0, f"{done.stderr}\n{self.kubectl('get', 'pods,jobs,events')}"

    def kubectl(self, *words: str) -> str:
        return kubectl(self._cluster.kubeconfig, "-n", NAMESPACE, *words)

    def secrets(self) -> dict[str, Json]:
        """What the chart's job has written."""
        found = msgspec.json.decode(self.kubectl("get", "secrets", "-o", "json"))["items"]
        return {item["metadata"]["name"]: item["data"] for item in found if item["metadata"]["name"] in _SECRETS}

    def pods(self) -> dict[str, set[str]]:
        """The pods of each service, but for those that end."""
        words = ("get", "pods", "--selector", _COMPONENT, "-o", "json")
        named: dict[str, set[str]] = {}
        for meta in (pod["metadata"] for pod in msgspec.json.decode(self.kubectl(*words))["items"]):
            if "deletionTimestamp" not in meta:
                named.setdefault(meta["labels"][_COMPONENT], set()).add(meta["name"])
        return named

    def status(self) -> Json:
        """What `fleet server status` says."""
        return msgspec.json.decode(self._fleet("status", "--output", "json"))

    def _fleet(self, verb: str, *words: str) -> str:
        argv = ["fleet", "server", verb, "--namespace", NAMESPACE, *words]
        env = {**os.environ, "KUBECONFIG": str(self._cluster.kubeconfig)}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def provider(one: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> ZitadelDouble:
    """Module: the images of a server on the node, and an identity provider as a pod."""
    double = images.zitadel_double()
    one.load([images.product(), images.nats(), double])
    root = tmp_path_factory.mktemp("provider")
    with contextlib.closing(KubeProbe(one.kubeconfig, NAMESPACE)) as kube:
        return identity.start(kube, f"{NAMESPACE}-identity", double.image, one.plan.take_node_port(), root)


@pytest.fixture
def release(
    one: NodeCluster, provider: ZitadelDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Release]:
    """The chart in a registry, a new labelled namespace with the admin's token, and the values of an install."""
    helm = Helm(resolve("helm"), tmp_path, tmp_path)
    monkeypatch.setenv("PATH", str(helm.program.parent), prepend=":")
    kubectl(one.kubeconfig, "create", "namespace", NAMESPACE)
    kubectl(one.kubeconfig, "label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    token = f"--from-file=token={provider.admin_token_file}"
    kubectl(one.kubeconfig, "-n", NAMESPACE, "create", "secret", "generic", "zitadel-admin", token)
    values: Json = {
        "image": images.product().image,
        "natsImage": images.nats().image,
        "pullPolicy": "Never",
        "identity": {"issuer": provider.issuer, "ca": provider.ca.read_text(), "adminTokenSecret": "zitadel-admin"},
        "nats": {"host": "localhost", "port": one.plan.take_node_port()},
    }
    with running_registry(tmp_path) as repository:
        reference, _ = publish(repository, plain_http=True)
        yield Release(one, provider, helm, reference.rpartition(":")[0], values)
    kubectl(one.kubeconfig, "delete", "namespace", NAMESPACE)
    # Helm never deletes the definitions of its charts, and the cluster is shared with other tests.
    definitions = [f"customresourcedefinitions/{plural}.{GROUP}" for plural in (DEVICES, DEPLOYMENTS)]
    kubectl(one.kubeconfig, "delete", "--ignore-not-found", *definitions)


def test_the_chart_is_installed_upgraded_rolled_back_and_removed(release: Release) -> None:
    release.helm("install", "--wait")
    status = release.status()
    assert {component["name"] for component in status["parts"]} == {"nats", "callout", "operator"}
    assert status["ready"]
    assert status["projectId"]
    made, pods = release.secrets(), release.pods()
    assert set(made) == set(_SECRETS)
    assert release.kubectl("get", "jobs", "-o", "name") == "", "the job stays although it is done"
    assert len(pods["callout"]) == 2

    release.helm("upgrade", "--wait")
    assert (release.secrets(), release.pods()) == (made, pods), "an upgrade without a change changes nothing"

    release.helm("upgrade", "--wait", nats={"host": "127.0.0.1", "port": release.port})
    changed = release.secrets()
    assert changed["fleet-secrets"].items() >= made["fleet-secrets"].items(), "a secret was made anew"
    assert release.status()["natsUrl"] == f"tls://127.0.0.1:{release.port}"
    assert not release.pods()["callout"] & pods["callout"], "pods run on with files of before"

    release.rollback()
    assert release.status()["natsUrl"] == f"tls://localhost:{release.port}"
    assert {name: data for name, data in release.secrets().items() if name != "fleet-secrets"} == {
        name: data for name, data in made.items() if name != "fleet-secrets"
    }

    release.uninstall()
    assert release.pods() == {}
    assert set(release.secrets()) == {"fleet-secrets"}
    assert release.secrets()["fleet-secrets"].items() >= made["fleet-secrets"].items()
    assert "fleet-server" not in release.kubectl("get", "configmaps", "-o", "name"), "a server is still announced"
    assert "devices.fleet.nationtech.io" in release.kubectl("get", "crds", "-o", "name")
    assert "data-fleet-nats-0" in release.kubectl("get", "pvc", "-o", "name")


def test_the_chart_takes_over_what_was_installed_directly(release: Release) -> None:
    release.install_directly()
    made, pods = release.secrets(), release.pods()
    release.helm("install", "--wait", "--take-ownership")
    taken = release.secrets()
    assert taken["fleet-secrets"].items() >= made["fleet-secrets"].items(), "a secret was made anew"
    assert set(release.pods()) == set(pods)
    assert release.status()["ready"]

    release.helm("upgrade", "--wait")
    assert release.secrets() == taken

    release.uninstall()
    assert release.pods() == {}, "pods of the direct install are left"
