"""`fleet server` on Kubernetes: a real API server, controllers that the tests play, and the Zitadel double."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.topology.kubernetes import readiness
from tests.cli.conftest import Fleet, install_words
from tests.cli.kubernetes.conftest import OURS, Install, State
from tests.doubles.zitadel.idp import Idp
from tests.support.controllers import Controllers
from tests.support.kube import Kube

SERVICES = ("callout", "nats", "operator")


@pytest.mark.usefixtures("controllers")
def test_an_install_and_a_second_one_that_changes_nothing(install: Install, fleet: Fleet, state: State) -> None:
    first = install("--output", "json")
    assert first.code == 0, first.err
    assert {"StatefulSet fleet-nats", "Deployment fleet-callout", "ConfigMap fleet-server"} <= set(
        first.json["changed"]
    )
    before = state()
    second = install("--output", "json")
    assert (second.code, second.json["changed"]) == (0, []), second.err
    assert state() == before
    status = fleet("server", "status", "--output", "json")
    assert status.code == 0
    assert [part["name"] for part in status.json["parts"]] == list(SERVICES)


@pytest.mark.usefixtures("controllers")
def test_a_look_at_what_would_change_changes_nothing_and_shows_no_secret(
    install: Install, kube: Kube, namespace: str, state: State
) -> None:
    look = install("--dry-run")
    assert look.code == 0, look.err
    assert "would create  Deployment fleet-operator" in look.out
    assert namespace not in kube.kubectl("get", "namespaces", "-o", "name")
    assert install().code == 0
    before = state()
    again = install("--dry-run")
    assert "nothing would change" in again.out, again.out
    other = install("--dry-run", "--image", "fleet:other", "--exposure", "load-balancer")
    assert 'spec.template.spec.containers[callout].image: "fleet:v0.1.0" → "fleet:other"' in other.out
    assert 'would change  Service fleet-nats-public\n      spec.type: "NodePort" → "LoadBalancer"' in other.out
    moved = install("--dry-run", "--nats-address", "elsewhere.example.org:30999", "--output", "json")
    changed = {item["name"]: item["fields"] for item in moved.json["objects"] if item["action"] == "change"}
    assert any("data.tls.crt: (secret) → (secret)" in field for field in changed["Secret fleet-nats"])
    assert state() == before
    secrets = json.loads(kube.kubectl("-n", namespace, "get", "secrets", "-o", "json"))["items"]
    values = {value for secret in secrets for value in secret["data"].values()}
    shown = look.out + again.out + other.out + moved.out
    assert not [value for value in values if value in shown]


@pytest.mark.usefixtures("controllers")
def test_what_is_no_longer_wanted_is_removed_and_nobody_elses(
    install: Install, kube: Kube, namespace: str, state: State
) -> None:
    assert install().code == 0
    kube.kubectl("-n", namespace, "create", "configmap", "theirs")
    words = ("--exposure", "ingress", "--nats-address", "nats.example.org:443")
    look = install(*words, "--dry-run")
    assert "would remove  Service fleet-nats-public" in look.out
    assert "would create  Ingress fleet-nats-public" in look.out
    done = install(*words, "--output", "json")
    assert done.code == 0, done.err
    assert "Service fleet-nats-public" in done.json["changed"]
    names = set(state())
    assert "Ingress fleet-nats-public" in names
    assert "Service fleet-nats-public" not in names
    assert "ConfigMap theirs" in names


@pytest.mark.usefixtures("controllers")
def test_an_uninstall_keeps_what_is_data(install: Install, fleet: Fleet, kube: Kube, namespace: str) -> None:
    assert install().code == 0
    # As the controller of StatefulSets would have made it.
    stateful = json.loads(kube.kubectl("-n", namespace, "get", "statefulset", "fleet-nats", "-o", "json"))
    claim = stateful["spec"]["volumeClaimTemplates"][0]
    claim["metadata"] = {"name": "data-fleet-nats-0", "labels": claim["metadata"]["labels"]}
    kube.kubectl("-n", namespace, "create", "-f", "-", stdin=msgspec.json.encode(claim).decode())
    before = kube.kubectl("-n", namespace, "get", "secret", "fleet-secrets", "-o", "jsonpath={.data}")
    assert fleet("server", "uninstall").code == 0
    left = kube.kubectl("-n", namespace, "get", f"{OURS},persistentvolumeclaims,serviceaccounts", "-o", "name").split()
    assert set(left) == {"secret/fleet-secrets", "persistentvolumeclaim/data-fleet-nats-0"}
    assert fleet("server", "status").code == 3
    assert install().code == 0
    assert kube.kubectl("-n", namespace, "get", "secret", "fleet-secrets", "-o", "jsonpath={.data}") == before
    answer = fleet("server", "uninstall", "--delete-data")
    assert answer.code == 0, answer.err
    assert kube.kubectl("-n", namespace, "get", f"{OURS},pvc", "-o", "name") == ""


@pytest.mark.usefixtures("controllers")
def test_what_nats_keeps_cannot_be_reshaped(install: Install, state: State) -> None:
    assert install().code == 0
    before = state()
    for words, said in (
        (("--nats-replicas", "3"), "the number of its servers (1, and 3 are asked for) cannot be changed"),
        (("--storage-size", "5Gi"), "the size or the class of its volumes cannot be changed"),
    ):
        answer = install(*words)
        assert answer.code == 2, answer
        assert said in answer.err
    assert install("--storage-size", "1024Mi").code == 0
    assert state() == before


def test_why_a_part_does_not_become_ready(
    install: Install, fleet: Fleet, controllers: Controllers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PATIENCE", 0.3)
    controllers.held = {"fleet-callout", "fleet-nats", "fleet-operator"}
    slow = install("--timeout", "1")
    assert slow.code == 8
    assert "not ready within 1 s: " in slow.err
    assert "callout: 0 of 2 pods are ready" in slow.err
    message = 'Back-off pulling image "fleet:missing": not found'
    waiting = {"reason": "ImagePullBackOff", "message": message}
    controllers.pod("callout", _container("fleet:missing", {"waiting": waiting}))
    ended = {"exitCode": 2, "reason": "Error", "message": "first\nnats.json: no such file"}
    controllers.pod("nats", _container("nats:test", {"waiting": {"reason": "CrashLoopBackOff"}}, ended))
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: Insufficient cpu"}
    controllers.pod("operator", {"conditions": [unscheduled]})
    answer = install("--timeout", "30")
    assert answer.code == 1
    assert f"callout: the image fleet:missing cannot be had: {message}" in answer.err
    assert "nats: fleet-nats-0 ended with code 2, 5 times: first / nats.json: no such file" in answer.err
    assert "operator: no node takes fleet-operator-0: 0/1 nodes are available: Insufficient cpu" in answer.err
    assert "mend it, then repeat" in answer.err
    status = fleet("server", "status")
    assert status.code == 3, "what is not ready is not announced"
    controllers.held = set()
    assert install().code == 0


def _container(image: str, state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    name = image.partition(":")[0].replace("fleet", "callout")
    container = {"name": name, "image": image, "imageID": "", "ready": False, "restartCount": 5 if last else 0}
    return {"containerStatuses": [{**container, "state": state, "lastState": {"terminated": last} if last else {}}]}


def test_status_tells_why(install: Install, fleet: Fleet, controllers: Controllers) -> None:
    assert install().code == 0
    controllers.held = {"fleet-nats"}
    controllers.settle()
    controllers.pod("nats", _container("nats:test", {"running": {}}))
    controllers.warn("Pod", "fleet-nats-0", "Unhealthy", "Readiness probe failed: HTTP probe failed with 503")
    answer = fleet("server", "status")
    assert answer.code == 1
    assert "not ready: fleet-nats-0 runs, and is not ready: Readiness probe failed" in answer.out


def test_bad_options_are_refused_before_anything_is_contacted(
    fleet: Fleet, idp: Idp, namespace: str, kube: Kube
) -> None:
    good = ("--nats-address", "nats.example.org")
    for words, said in (
        ((), "--nats-address is missing"),
        (("--nats-address", "tls://x"), "is not HOST or HOST:PORT"),
        (("--nats-address", "host:99999"), "is not HOST or HOST:PORT"),
        ((*good, "--exposure", "magic"), "use one of: node-port, load-balancer, ingress, route"),
        ((*good, "--exposure", "route"), "this cluster has no Routes"),
        ((*good, "--nats-replicas", "2"), "as one server or as three"),
        ((*good, "--storage-size", "much"), "--storage-size much is not a size"),
        ((*good, "--ingress-class", "nginx"), "--ingress-class nginx counts only with --exposure ingress"),
        ((*good, "--web-host", "fleet.example.org"), "--web-host counts only with --web"),
        ((*good, "--web", "--web-exposure", "ingress"), "the page has no name"),
        ((*good, "--web", "--web-host", "https://x"), "is no name of a host"),
        ((*good, "--web", "--web-host", "x", "--web-exposure", "magic"), "use one of: ingress, route"),
        ((*good, "--web", "--web-host", "x", "--web-exposure", "route"), "this cluster has no Routes"),
        ((*good, "--zitadel-image", "x"), "--bundled-identity is not given"),
        ((*good, "--admin-oidc-client-id", "1"), "only one of them"),
        ((*good, "--pull-policy", "Sometimes"), "IfNotPresent, Always, Never"),
    ):
        answer = fleet(*install_words(idp), *words)
        assert answer.code == 2, (words, answer)
        assert said in answer.err
    assert namespace not in kube.kubectl("get", "namespaces", "-o", "name")


def test_words_of_a_file_that_is_no_token(fleet: Fleet, idp: Idp, namespace: str) -> None:
    del namespace
    Path("admin.pat").write_text("")
    answer = fleet(*install_words(idp), "--nats-address", "nats.example.org")
    assert answer.code == 2


@pytest.mark.usefixtures("controllers")
def test_a_bundled_identity_provider_comes_first(
    install: Install, fleet: Fleet, idp: Idp, kube: Kube, namespace: str, state: State
) -> None:
    """Zitadel itself is not run here: the double stands where the issuer is."""
    words = ("--nats-address", "nats.example.org:30998", "--bundled-identity")
    issuer = ("--issuer", "https://id.example.org:30997", "--timeout", "20")
    first = fleet("server", "install", *issuer, *words)
    assert first.code == 7, first
    assert "nobody has given us a token for it yet" in first.err
    assert "zitadel_admin_pass" in first.err
    assert {"StatefulSet fleet-postgres", "Deployment fleet-zitadel"} <= set(state())
    assert "StatefulSet fleet-nats" not in state()
    assert install().code == 0, "with another provider"
    assert {"Deployment fleet-zitadel", "StatefulSet fleet-nats"} <= set(state()), "it stays until it is uninstalled"
    assert fleet("server", "uninstall", "--delete-data").code == 0
    assert state() == {}
    assert idp.issuer not in kube.kubectl("-n", namespace, "get", "secrets", "-o", "yaml")
