"""A rotation by an admin who may not do all of it is refused before its first step, and names what is missing."""

from __future__ import annotations

import json

import pytest

from harness.wait import wait_until
from tests.cli.conftest import Fleet
from tests.cli.kubernetes.conftest import Install, State
from tests.cli.kubernetes.test_refusals import create, create_role
from tests.support.kube import Kube

WRITTEN = ("fleet-secrets", "fleet-log-reader", "fleet-nats", "fleet-callout", "fleet-operator")
API = "rbac.authorization.k8s.io"


def grant(kube: Kube, namespace: str, user: str, name: str, verbs: list[str], names: tuple[str, ...] = ()) -> None:
    """Let `user` (a ServiceAccount of `default`) do this with Secrets: of these names, or of all."""
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": verbs, "resourceNames": list(names)}
    metadata = {"name": name, "namespace": namespace}
    subject = {"kind": "ServiceAccount", "name": user, "namespace": "default"}
    reference = {"apiGroup": API, "kind": "Role", "name": name}
    create(
        kube,
        {"apiVersion": f"{API}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{API}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [subject],
            "roleRef": reference,
        },
    )
    attributes = {"resource": "secrets", "name": WRITTEN[0], "verb": verbs[-1], "namespace": namespace}
    asked = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:default:{user}", "resourceAttributes": attributes},
    }
    # The API server hears of a role a moment after it is made.
    wait_until(
        lambda: kube.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(asked)),
        f"{user} may {verbs[-1]} Secrets",
        timeout=30,
        until=lambda answer: json.loads(answer)["status"]["allowed"],
    )


@pytest.mark.usefixtures("controllers")
def test_secrets_that_may_be_read_and_not_written(
    install: Install, fleet: Fleet, kube: Kube, namespace: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install().code == 0
    user = f"rotator-{namespace}"
    kubeconfig = kube.service_account("default", user)
    create_role(kube, user, without="Secret")
    grant(kube, namespace, user, "reads", ["get"])
    before = state()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    answer = fleet("secrets", "rotate", "nats_app_pass", "--timeout", "1")
    assert answer.code == 7, answer.err
    missing = ", ".join(f"patch Secret {name}" for name in WRITTEN)
    assert f"does not let us do this in {namespace}: {missing}\n" in answer.err
    assert "nothing was changed" in answer.err
    assert state() == before
    assert not kube.kubectl("-n", namespace, "get", "leases", "-o", "name")
    grant(kube, namespace, user, "writes", ["patch"], WRITTEN)
    answer = fleet("secrets", "rotate", "nats_app_pass", "--timeout", "1")
    assert answer.code == 8, answer.err
    assert "the rotation waits: NATS: " in answer.err, "no NATS runs here, so this is as far as it comes"
