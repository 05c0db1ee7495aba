"""Kubernetes' API as we use it, against a real API server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.contract.errors import Conflict, InvalidInput, NotFound, NotPermitted, Unreachable
from fleet.install.plan import server_objects
from fleet.kube import client as module
from fleet.kube.client import KubeClient
from tests.support.kube import Kube
from tests.support.tls import make_tls

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def no_other_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test that forgets its kubeconfig finds none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))


def connect(monkeypatch: pytest.MonkeyPatch, kubeconfig: Path) -> KubeClient:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    return KubeClient()


@pytest.fixture
def client(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> KubeClient:
    return connect(monkeypatch, kube.kubeconfig)


@pytest.fixture
def namespace(kube: Kube) -> str:
    return kube.namespace()


def config_map(namespace: str, data: dict[str, str], name: str = "settings") -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def test_a_second_apply_changes_nothing(client: KubeClient, namespace: str) -> None:
    desired = [config_map(namespace, {"a": "1"})]
    assert [item.changed for item in client.apply(desired)] == [True]
    assert [item.changed for item in client.apply(desired)] == [False]
    assert [item.changed for item in client.apply([config_map(namespace, {"a": "2"})])] == [True]


def test_a_second_install_of_the_servers_objects_changes_nothing(client: KubeClient, kube: Kube) -> None:
    objects = server_objects(kube.fresh("fleet"))
    client.apply(objects)
    assert [item.name for item in client.apply(objects) if item.changed] == []


def test_definitions_can_be_used_at_once(client: KubeClient, kube: Kube) -> None:
    namespace = kube.fresh("fleet")
    client.apply(server_objects(namespace))
    assert client.list("Device", namespace) == []


def test_what_others_added_stays(client: KubeClient, kube: Kube, namespace: str) -> None:
    client.apply([config_map(namespace, {"ours": "1"})])
    kube.kubectl("-n", namespace, "patch", "configmap", "settings", "-p", '{"data": {"theirs": "2"}}')
    client.apply([config_map(namespace, {"ours": "3"})])
    found = client.find("ConfigMap", "settings", namespace)
    assert found is not None
    assert found["data"] == {"ours": "3", "theirs": "2"}


def test_a_field_of_another_manager_is_a_conflict_that_names_it(client: KubeClient, kube: Kube, namespace: str) -> None:
    manifest = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "theirs"}}'
    kube.kubectl("-n", namespace, "apply", "--server-side", "--field-manager", "argocd", "-f", "-", stdin=manifest)
    with pytest.raises(Conflict, match="argocd set these fields: let it release them"):
        client.apply([config_map(namespace, {"a": "ours"})])
    found = client.find("ConfigMap", "settings", namespace)
    assert found is not None
    assert found["data"] == {"a": "theirs"}


def test_deleting_what_is_gone_is_fine(client: KubeClient, namespace: str) -> None:
    desired = [config_map(namespace, {})]
    client.apply(desired)
    assert [item.changed for item in client.delete(desired)] == [True]
    assert [item.changed for item in client.delete(desired)] == [False]
    assert client.find("ConfigMap", "settings", namespace) is None


def test_creating_twice_is_a_conflict(client: KubeClient, namespace: str) -> None:
    client.create(config_map(namespace, {"a": "1"}))
    with pytest.raises(Conflict, match="already exists"):
        client.create(config_map(namespace, {"a": "2"}))


def test_patching_what_is_not_there(client: KubeClient, namespace: str) -> None:
    with pytest.raises(NotFound, match='"settings" not found'):
        client.patch("ConfigMap", "settings", namespace, {"data": {"a": "1"}})


def test_a_long_list_is_read_to_its_end(client: KubeClient, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    names = [f"m{number}" for number in range(5)]
    client.apply([config_map(namespace, {}, name) for name in names])
    assert [item["metadata"]["name"] for item in client.list("ConfigMap", namespace)] == names


def test_a_value_that_kubernetes_refuses(client: KubeClient, kube: Kube) -> None:
    namespace = kube.fresh("fleet")
    client.apply(server_objects(namespace))
    device = {"apiVersion": "fleet.nationtech.io/v1alpha1", "kind": "Device"}
    with pytest.raises(InvalidInput, match="RFC 1123"):
        client.create({**device, "metadata": {"name": "a.b", "namespace": namespace}, "spec": {}})


ACTS: dict[str, Callable[[KubeClient, str], object]] = {
    "get": lambda client, namespace: client.find("ConfigMap", "settings", namespace),
    "patch": lambda client, namespace: client.patch("ConfigMap", "settings", namespace, {"data": {}}),
    "create": lambda client, namespace: client.create(config_map(namespace, {})),
    "delete": lambda client, namespace: client.delete([config_map(namespace, {})]),
    "list": lambda client, namespace: client.list("ConfigMap", namespace),
}


@pytest.mark.parametrize("verb", ACTS)
def test_without_rights_the_verb_and_the_resource_are_named(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    nobody = connect(monkeypatch, kube.service_account(namespace, "nobody"))
    with pytest.raises(NotPermitted, match=rf'cannot {verb} resource "configmaps".*\n.*ask the cluster\'s admin'):
        ACTS[verb](nobody, namespace)


def test_an_unknown_token(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = connect(monkeypatch, kube.with_token("expired"))
    with pytest.raises(NotPermitted, match="log in to the cluster again"):
        stranger.list("Namespace", "")


def test_a_restart_of_the_api_server_is_waited_for(client: KubeClient, kube: Kube, namespace: str) -> None:
    client.apply([config_map(namespace, {"a": "1"})])
    asked, answers = threading.Event(), list[object]()

    def ask() -> None:
        asked.set()
        answers.append(client.find("ConfigMap", "settings", namespace))

    kube.stop()
    asking = threading.Thread(target=ask)
    try:
        asking.start()
        assert asked.wait(5)
    finally:
        kube.start()
    asking.join(25)
    assert len(answers) == 1
    assert answers[0] is not None


def test_an_api_server_that_stays_away(kube: Kube, client: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OUTAGE", 0.3)
    kube.stop()
    try:
        with pytest.raises(Unreachable, match=r"does not answer: .*[Rr]efused.*\n.*is the API server up"):
            client.find("Namespace", "default")
    finally:
        kube.start()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "kind: Config\n", "\x00\x01", '{"current-context": "x", "contexts": []}']
)
def test_a_kubeconfig_that_is_none(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "config"
    broken.write_text(content)
    with pytest.raises(InvalidInput, match="KUBECONFIG"):
        connect(monkeypatch, broken)
    assert capfd.readouterr().out == "", "a library printed into the answer"


def test_no_kubeconfig_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidInput, match=r"none.*|KUBECONFIG"):
        connect(monkeypatch, tmp_path / "none")
    assert capfd.readouterr().out == "", "a library printed into the answer"


def test_several_kubeconfigs(kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBECONFIG may be a list of files, as for kubectl."""
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{kube.kubeconfig}")
    assert KubeClient().find("Namespace", "default") is not None


def test_a_certificate_of_another_cluster(kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "ca.pem"
    other.write_text(make_tls(tmp_path).ca)
    text = kube.kubeconfig.read_text().replace(str(kube.ca), str(other))
    assert str(other) in text
    (tmp_path / "config").write_text(text)
    with pytest.raises(InvalidInput, match="shows a certificate that the kubeconfig's CA did not sign"):
        connect(monkeypatch, tmp_path / "config").find("Namespace", "default")
