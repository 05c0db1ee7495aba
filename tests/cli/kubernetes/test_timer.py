"""The CronJob that renews what is due: what the cluster takes, and that its account may do a rotation and no more."""

from __future__ import annotations

import json

import pytest
import yaml

from fleet.cli.found import installed_in
from fleet.contract.errors import NotPermitted
from fleet.contract.versions import rotated_password
from fleet.kube.client import KubeClient
from fleet.secrets.store import Change
from fleet.topology.capabilities import Json
from harness.wait import wait_until
from tests.cli.conftest import Fleet, Place
from tests.cli.kubernetes.conftest import Install
from tests.support.kube import Kube

NAME = "fleet-renewal"


@pytest.fixture
def objects(install: Install, fleet: Fleet, kube: Kube, controllers: object) -> dict[str, Json]:
    """What the command printed of a server, once the cluster has taken it."""
    del controllers
    assert install().code == 0
    answer = fleet("secrets", "timer", "--schedule", "5 3 * * 1")
    assert answer.code == 0, answer.err
    kube.kubectl("apply", "-f", "-", stdin=answer.out)
    return {item["kind"]: item for item in yaml.safe_load_all(answer.out)}


def test_the_cluster_takes_it_and_its_account_can_carry_out_a_rotation_and_nothing_else(
    objects: dict[str, Json], fleet: Fleet, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = objects["CronJob"]["spec"]
    assert (job["schedule"], job["concurrencyPolicy"]) == ("5 3 * * 1", "Forbid")
    template = objects["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]
    # The namespace asks for the restricted standard.
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "renewal"}, "spec": template["spec"]}
    kube.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(pod))
    (container,) = template["spec"]["containers"]
    operator = KubeClient().find("Deployment", "fleet-operator", namespace)
    assert operator
    assert container["image"] == operator["spec"]["template"]["spec"]["containers"][0]["image"]
    assert container["command"] + container["args"][:3] == ["fleet", "secrets", "rotate", "--due"]
    kubeconfig = kube.with_token(kube.kubectl("-n", namespace, "create", "token", NAME).strip())
    may = ["auth", "can-i", "patch", "secret/fleet-secrets", "-n", namespace]
    account = f"system:serviceaccount:{namespace}:{NAME}"
    wait_until(
        lambda: kube.kubectl(*may, "--as", account), "its role counts", timeout=30, until=lambda said: "yes" in said
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    answer = fleet("secrets", "rotate", "nats_app_pass", "--timeout", "1")
    assert answer.code == 8, answer.err
    assert "the rotation waits: NATS: " in answer.err, "no NATS runs here, so this is as far as it comes"
    # What comes after that: the parts get what the store has.
    server = installed_in(KubeClient(), namespace, 20)
    before = _version(namespace, "StatefulSet", "fleet-nats")
    kept = server.kept("nats_app_pass")
    server.place.secrets.change("nats_app_pass", kept, Change.STAGE, rotated_password().encode())
    server.apply()
    assert _version(namespace, "StatefulSet", "fleet-nats") != before
    for asked in (
        ("Secret", "theirs"),
        ("ConfigMap", "theirs"),
        ("Deployment", "theirs"),
        ("Role", "fleet-operator"),
        ("Device", "pi-1"),
    ):
        with pytest.raises(NotPermitted):
            KubeClient().find(*asked, namespace)
    with pytest.raises(NotPermitted):
        KubeClient().list("Secret", namespace)
    # A server that helm keeps has no list of what an install made; it is found with no more rights.
    kube.kubectl("-n", namespace, "delete", "configmap", "fleet-inventory")
    installed_in(KubeClient(), namespace, 20)


def test_what_has_no_timer(installed: Place, fleet: Fleet) -> None:
    del installed
    refused = fleet("secrets", "timer")
    assert (refused.code, "let cron run `fleet secrets rotate --due`" in refused.err) == (7, True), refused.err
    refused = fleet("secrets", "timer", "--schedule", "daily")
    assert (refused.code, "has not five fields" in refused.err) == (2, True)


def _version(namespace: str, kind: str, name: str) -> int:
    found = KubeClient().find(kind, name, namespace)
    assert found
    return found["metadata"]["generation"]
