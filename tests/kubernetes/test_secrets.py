"""Secrets in one Secret of Kubernetes: two processes at once agree, and a damaged or foreign one is never replaced."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from fleet.contract.errors import Conflict, InvalidInput, NotPermitted
from fleet.kube.client import KubeClient
from fleet.secrets.kubernetes import KubernetesSecretStore
from tests.support.kube import Kube


def never() -> bytes:
    raise AssertionError("the secret was made anew")


@pytest.fixture
def namespace(kube: Kube) -> str:
    return kube.namespace()


@pytest.fixture
def store(client: KubeClient, namespace: str) -> KubernetesSecretStore:
    return KubernetesSecretStore(client, namespace)


def test_two_processes_at_once_agree(namespace: str) -> None:
    script = (
        "import os, sys; from fleet.kube.client import KubeClient\n"
        "from fleet.secrets.kubernetes import KubernetesSecretStore\n"
        "store = KubernetesSecretStore(KubeClient(), sys.argv[1])\n"
        "print('loaded', flush=True); sys.stdin.read()\n"
        "print([store.get_or_create(f's{n}', lambda: os.urandom(8).hex().encode()) for n in range(20)])"
    )
    installs = [
        subprocess.Popen(
            [sys.executable, "-c", script, namespace], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    pipes = [(install.stdin, install.stdout) for install in installs if install.stdin and install.stdout]
    assert [out.readline() for _, out in pipes] == ["loaded\n"] * 2
    for go, _ in pipes:
        go.close()
    outputs: list[str] = []
    for _, out in pipes:
        with out:
            outputs.append(out.read())
    assert [install.wait(30) for install in installs] == [0, 0]
    assert outputs[0].count(",") == 19
    assert outputs[0] == outputs[1]


def test_an_empty_secret_is_never_replaced(
    store: KubernetesSecretStore, client: KubeClient, kube: Kube, namespace: str
) -> None:
    store.get_or_create("a", lambda: b"value")
    kube.kubectl("-n", namespace, "patch", "secret", "fleet-secrets", "-p", '{"data": {"a": ""}}')
    with pytest.raises(InvalidInput, match=r"a in .*/fleet-secrets is empty\n.*never made anew"):
        KubernetesSecretStore(client, namespace).get_or_create("b", never)


def test_a_foreign_secret_of_our_name(store: KubernetesSecretStore, kube: Kube, namespace: str) -> None:
    kube.kubectl("-n", namespace, "create", "secret", "generic", "fleet-secrets", "--from-literal=a=theirs")
    with pytest.raises(Conflict, match="not ours"):
        store.get_or_create("b", never)
    kept = kube.kubectl("-n", namespace, "get", "secret", "fleet-secrets", "-o", "jsonpath={.data}")
    assert base64.b64encode(b"theirs").decode() in kept
    assert '"b"' not in kept


def test_without_the_right_to_read(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kube.service_account(namespace, "nobody")))
    with pytest.raises(NotPermitted, match='cannot get resource "secrets"'):
        KubernetesSecretStore(KubeClient(), namespace).get_or_create("a", never)
