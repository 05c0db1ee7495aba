"""The chart's job on the real API server, as its own account: what it writes is what a direct install writes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from fleet.chart.values import shape_of
from fleet.cli.main import app
from fleet.contract.config import UpgradeRules
from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.contract.logs import LOG_READER_KEY, LOG_READER_SECRET
from fleet.contract.objects import ServerInfo
from fleet.contract.wire import decode
from fleet.install.plan import ServerSettings, server_plan
from fleet.install.secrets import server_secrets
from fleet.kube.client import KubeClient
from fleet.secrets.kubernetes import KubernetesSecretStore
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.render import files_secret
from fleet.topology.kubernetes.shape import endpoints
from fleet.version import VERSION
from tests.doubles.zitadel.idp import Idp, double_at
from tests.support.helm import Helm, given, parsed
from tests.support.kube import Kube

NAME = "fleet-prepare"
_RIGHTS = ("ServiceAccount", "Role", "RoleBinding")


@pytest.fixture
def namespace(kube: Kube, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    return kube.namespace()


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    with double_at(tmp_path_factory.mktemp("zitadel")) as found:
        yield found


def become_the_job(kube: Kube, helm: Helm, namespace: str, values: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log in with the rights that the chart gives its job, and no others."""
    rights = [
        item
        for item in helm.template(values, namespace)
        if item["kind"] in _RIGHTS and item["metadata"]["name"] == NAME
    ]
    kube.kubectl("-n", namespace, "apply", "-f", "-", stdin=yaml.safe_dump_all(rights))
    token = kube.kubectl("-n", namespace, "create", "token", NAME).strip()
    monkeypatch.setenv("KUBECONFIG", str(kube.with_token(token)))


def prepare(helm: Helm, namespace: str, values: Json, *words: str, verb: str = "prepare") -> None:
    app(["server", "chart", verb, "--values", helm.values(values), "-n", namespace, *words], standalone_mode=False)


def secret(client: KubeClient, name: str, namespace: str) -> dict[str, bytes]:
    found = client.find("Secret", name, namespace)
    assert found, f"there is no Secret {name}"
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


@pytest.mark.parametrize("replicas", [1, 3])
def test_it_writes_what_a_direct_install_writes(
    kube: Kube,
    helm: Helm,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    replicas: int,
) -> None:
    changed: Json = {"nats__replicas": replicas, "upgrade": {"atOnce": 7, "abortAfter": 2, "soak": 60, "grant": 900}}
    values = given(**changed)
    admin = KubeClient()
    become_the_job(kube, helm, namespace, values, monkeypatch)
    prepare(helm, namespace, values)
    places = endpoints(namespace, shape_of(parsed(**changed)))
    hosts = sorted({places.nats.host, places.nats_public.host, "localhost"})
    kept = server_secrets(KubernetesSecretStore(admin, namespace), hosts, [peer.host for peer in places.nats_peers])
    rules = UpgradeRules(at_once=7, abort_after=2, soak=60.0, grant=900.0)
    settings = ServerSettings(namespace, "https://id.example.org", "", "project-1", "client-1", VERSION, rules)
    plan = server_plan(settings, kept, places, msgspec.json.encode(shape_of(parsed(**changed))).decode())
    for service in plan.services:
        wanted = {key: base64.b64decode(value) for key, value in files_secret(service, namespace)["data"].items()}
        assert secret(admin, f"fleet-{service.name}", namespace) == wanted
    reader = plan.log_reader["data"][LOG_READER_KEY]
    assert secret(admin, LOG_READER_SECRET, namespace) == {LOG_READER_KEY: base64.b64decode(reader)}
    announced = admin.find("ConfigMap", "fleet-server", namespace)
    assert announced
    assert announced["data"] == plan.announcement["data"]
    capsys.readouterr()
    prepare(helm, namespace, values)
    assert "0 of 5 changed" in capsys.readouterr().out


def test_it_makes_the_project_with_the_admins_token(
    kube: Kube, helm: Helm, namespace: str, idp: Idp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(idp.admin_token)
    token.chmod(0o600)
    values = given(identity={"issuer": idp.issuer, "ca": idp.ca, "adminTokenSecret": "admin"})
    admin = KubeClient()
    become_the_job(kube, helm, namespace, values, monkeypatch)
    prepare(helm, namespace, values, "--admin-token-file", str(token))
    announced = admin.find("ConfigMap", "fleet-server", namespace)
    assert announced
    info = decode(announced["data"]["server.json"].encode(), ServerInfo)
    assert info.project_id
    assert info.cli_client_id
    assert info.ca.endswith(idp.ca)


def test_when_the_release_is_gone_the_secrets_stay_and_nothing_says_that_a_server_is_here(
    kube: Kube, helm: Helm, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = KubeClient()
    become_the_job(kube, helm, namespace, given(), monkeypatch)
    prepare(helm, namespace, given())
    kept = secret(admin, "fleet-secrets", namespace)
    for _ in range(2):  # a repeat finds nothing to do
        prepare(helm, namespace, given(), verb="withdraw")
        assert admin.find("ConfigMap", "fleet-server", namespace) is None
        assert admin.find("Secret", "fleet-callout", namespace) is None
    assert secret(admin, "fleet-secrets", namespace) == kept


def test_its_rights_are_for_its_own_objects(
    kube: Kube, helm: Helm, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kube.kubectl("-n", namespace, "create", "secret", "generic", "theirs", "--from-literal=a=b")
    become_the_job(kube, helm, namespace, given(), monkeypatch)
    job = KubeClient()
    for kind, name in (("Secret", "theirs"), ("ConfigMap", "kube-root-ca.crt"), ("Pod", "any")):
        with pytest.raises(NotPermitted):
            job.find(kind, name, namespace)
    for kind in ("Secret", "ConfigMap"):
        with pytest.raises(NotPermitted):
            job.list(kind, namespace)


def test_a_token_that_is_not_there_is_told(helm: Helm, namespace: str) -> None:
    values = given(identity={"issuer": "https://id.example.org", "adminTokenSecret": "admin"})
    with pytest.raises(InvalidInput, match="--admin-token-file is missing"):
        prepare(helm, namespace, values)


def test_a_token_that_nobody_asks_for_is_told(helm: Helm, namespace: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--admin-token-file would be ignored"):
        prepare(helm, namespace, given(), "--admin-token-file", str(tmp_path / "token"))


def test_helm_installs_it_on_the_real_api_server(kube: Kube, helm: Helm, namespace: str) -> None:
    """As far as an API server without a kubelet goes: it takes every object, and would make none differently."""
    values = helm.values(given(definitions=False))  # which other tests of this server install
    words = ("--namespace", namespace, "--values", values, "--kubeconfig", str(kube.kubeconfig))
    told = helm("install", "fleet", str(helm.chart), *words, "--dry-run=server")
    assert "Devices reach it at nats.example.org:30422" in told
