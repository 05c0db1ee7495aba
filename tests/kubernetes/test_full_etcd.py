"""An etcd that is full: a step of a rotation is refused as such, at once, and can be repeated once there is room."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest

from fleet.contract.errors import NotPermitted
from fleet.kube.client import KubeClient
from fleet.rotation.lease import lease
from fleet.secrets.kubernetes import KubernetesSecretStore
from fleet.secrets.store import Change, Kept
from harness.wait import wait_until
from tests.support.kube import Kube, running_kube


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """A cluster of its own: nobody can write to one whose etcd is full."""
    with running_kube(tmp_path_factory.mktemp("kube")) as kube:
        yield kube


def alarm(kube: Kube, action: str) -> None:
    """Raise or disarm etcd's alarm NOSPACE, as its quota does, by its JSON gateway."""
    body = json.dumps({"action": action, "alarm": "NOSPACE", "memberID": 0}).encode()
    asked = urllib.request.Request(f"{etcd_url(kube)}/v3/maintenance/alarm", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        answer.read()


def etcd_url(kube: Kube) -> str:
    argv = kube.plane.components[0].argv
    return next(word.partition("=")[2] for word in argv if word.startswith("--advertise-client-urls="))


def test_a_step_of_a_rotation(own: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(own.kubeconfig))
    namespace = own.namespace()
    store = KubernetesSecretStore(KubeClient(), namespace)
    store.get_or_create("a", lambda: b"old")
    before = store.versions("a")
    assert before
    alarm(own, "ACTIVATE")
    try:
        with pytest.raises(NotPermitted, match=r"etcd is full, and this was not written\n.*defragment"):
            store.change("a", before, Change.STAGE, b"new")
        assert store.versions("a") == before
        with pytest.raises(NotPermitted, match="etcd is full"), lease(KubeClient(), namespace, "a"):
            pass
        with pytest.raises(NotPermitted, match="etcd is full"):
            KubernetesSecretStore(KubeClient(), namespace).get_or_create("b", lambda: b"value")
    finally:
        alarm(own, "DEACTIVATE")
    # The API server tries again what etcd refused it by itself, and takes writes once etcd does.
    wait_until(lambda: writes(store, before), "the step is taken", timeout=60)
    after = store.versions("a")
    assert after
    assert (after.current, after.next) == (b"old", b"new")


def writes(store: KubernetesSecretStore, seen: Kept) -> bool:
    try:
        store.change("a", seen, Change.STAGE, b"new")
    except NotPermitted:
        return False
    return True
