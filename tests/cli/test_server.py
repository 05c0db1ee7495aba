"""`fleet server` with a real API server and the Zitadel double."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from fleet.contract.config import CalloutConfig, OperatorConfig, UpgradeRules, load_config
from fleet.contract.errors import Unreachable
from fleet.install.server import FleetServerScore
from fleet.kube.client import KubeClient
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import Change
from fleet.topology.admin import AdminAuth
from fleet.topology.capabilities import Applied
from harness.probes.kube import KubeProbe
from tests.cli.conftest import Fleet, Json, Place, install_on, install_words
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube

API = "fleet.nationtech.io/v1alpha1"
SECRETS = {
    "ca_cert",
    "ca_key",
    "nats_app_pass",
    "nats_auth_pass",
    "nats_control_pass",
    "nats_issuer_seed",
    "nats_log_reader_pass",
    "nats_publisher_pass",
    "nats_system_pass",
    "nats_web_pass",
    "nats_tls_cert",
    "nats_tls_key",
    "nats_xkey_seed",
    "server_id",
}
PUBLIC = {"ca_cert", "nats_tls_cert", "server_id"}
"""They are kept with the secrets, since they are made once, too."""


def values(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_install_and_a_second_one_that_changes_nothing(fleet: Fleet, idp: Idp, place: Place, tmp_path: Path) -> None:
    first = fleet(*install_words(idp), "--output", "json")
    assert first.code == 0, first.err
    assert "ConfigMap fleet-server" in first.json["changed"]
    before = values(tmp_path / "secrets")
    assert set(before) == SECRETS
    second = fleet(*install_words(idp), "--output", "json")
    assert second.code == 0, second.err
    assert second.json["changed"] == []
    assert values(tmp_path / "secrets") == before
    assert "nothing changed" in fleet(*install_words(idp)).out
    assert set(place.running) == {"nats", "callout", "operator"}


def test_what_an_install_announces(installed: Place, idp: Idp, probe: KubeProbe) -> None:
    info = probe.server()
    assert info is not None
    assert info.issuer == idp.issuer
    assert info.nats_url == "tls://nats.example.org:4222"
    assert info.ca.endswith(idp.ca)
    assert info.ca.count("BEGIN CERTIFICATE") == 2
    roles = idp.made(f"/projects/{info.project_id}/roles/_search", {})["result"]
    assert {role["key"] for role in roles} == {"device", "fleet-viewer"}


def test_the_parts_can_read_their_configuration(installed: Place, tmp_path: Path) -> None:
    def write(part: str) -> Path:
        path = tmp_path / f"{part}.json"
        path.touch(0o600)
        path.write_bytes(installed.running[part].files[path.name])
        return path

    callout = load_config(write("callout"), CalloutConfig)
    operator = load_config(write("operator"), OperatorConfig)
    assert callout.nats_url == operator.nats_url == "tls://nats.example.org:4222"


def test_an_install_sets_how_agents_are_upgraded(fleet: Fleet, idp: Idp, place: Place) -> None:
    words = ["--upgrade-at-once", "20", "--upgrade-abort-after", "2", "--upgrade-soak", "900"]
    words += ["--upgrade-grant", "600"]
    done = fleet(*install_words(idp), *words)
    assert done.code == 0, done.err
    operator = msgspec.json.decode(place.running["operator"].files["operator.json"], type=OperatorConfig)
    assert operator.upgrade == UpgradeRules(at_once=20, abort_after=2, soak=900, grant=600)
    for wrong in (["--upgrade-at-once", "0"], ["--upgrade-soak", "nan"], ["--upgrade-abort-after", "x"]):
        assert fleet(*install_words(idp), *wrong).code == 2


def test_no_secret_leaves_the_store(installed: Place, fleet: Fleet, idp: Idp, kube: Kube, tmp_path: Path) -> None:
    del installed
    answer = fleet(*install_words(idp), "--output", "json")
    shown = answer.out + answer.err + kube.kubectl("get", "configmaps,secrets", "-A", "-o", "json")
    secret = {name: text for name, text in values(tmp_path / "secrets").items() if name not in PUBLIC}
    assert not [
        name for name, text in secret.items() if text.decode().splitlines()[-2 if b"\n" in text else 0] in shown
    ]


def test_two_installs_at_once_agree(idp: Idp, place: Place, namespace: str, tmp_path: Path) -> None:
    score = FleetServerScore(idp.issuer, AdminAuth(token_file=tmp_path / "admin.pat"), idp.ca, namespace)
    barrier, errors = threading.Barrier(2), list[BaseException]()

    def install() -> None:
        mine = Place(KubeClient(), place.secrets)
        barrier.wait(10)
        try:
            score.interpret(mine, tell=lambda _: None, progress=lambda _: None)
        except BaseException as error:
            errors.append(error)
            raise
        finally:
            seen.append(mine.running)

    seen: list[object] = []
    threads = [threading.Thread(target=install) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert seen[0] == seen[1] != {}


def test_a_server_that_is_not_installed(fleet: Fleet, namespace: str) -> None:
    for words in (
        ("server", "status"),
        ("server", "uninstall"),
        ("login",),
        ("device", "list"),
        ("device", "show", "pi-1"),
        ("device", "revoke", "pi-1"),
        ("device", "delete", "pi-1"),
        ("device", "enroll", "--device-id", "pi-1", "--out", "x.json"),
        ("deployment", "list"),
        ("deployment", "show", "web"),
        ("deployment", "delete", "web"),
        ("deployment", "apply", "--name", "web", "--image", "x"),
    ):
        answer = fleet(*words)
        assert answer.code == 3, (words, answer)
        assert f"no fleet server is installed in namespace '{namespace}'" in answer.err
        assert "fleet server install" in answer.err


def test_a_kubeconfig_without_rights(
    fleet: Fleet, idp: Idp, kube: Kube, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kube.service_account("default", kube.fresh("nobody"))))
    mine = Place(KubeClient(), FileSecretStore(tmp_path / "secrets"))
    install_on(mine, monkeypatch)
    for words, verb in (
        (install_words(idp), "namespaces"),
        (["device", "list"], "devices"),
        (["deployment", "list"], "fleetdeployments"),
        (["server", "status"], "configmaps"),
    ):
        answer = fleet(*words)
        assert answer.code == 7, (words, answer)
        assert verb in answer.err
        assert "ask the cluster's admin for this right" in answer.err
    assert mine.running == {}


def test_status_says_what_is_installed_and_what_is_missing(installed: Place, fleet: Fleet, idp: Idp) -> None:
    good = fleet("server", "status", "--output", "json")
    assert good.code == 0
    assert good.json["ready"] is True
    assert good.json["issuer"] == idp.issuer
    assert good.json["secrets"] == {}
    kept = installed.secrets.versions("nats_app_pass")
    assert kept
    installed.secrets.change("nats_app_pass", kept, Change.STAGE, b"another")
    installed.unready["callout"] = "has not loaded its registry"
    ill = fleet("server", "status")
    assert ill.code == 1
    assert "not ready: has not loaded its registry" in ill.out
    assert "not ready: callout" in ill.err
    assert "its rotation is not at its end: repeat the command: see `fleet secrets list`" in ill.out


@pytest.mark.usefixtures("installed")
def test_an_announcement_that_somebody_has_broken_is_told_and_mended(
    fleet: Fleet, idp: Idp, kube: Kube, namespace: str
) -> None:
    for broken in ('{"data": null}', '{"data": {"server.json": "{"}}'):
        kube.kubectl("-n", namespace, "patch", "configmap", "fleet-server", "--type=merge", "-p", broken)
        for words in (("server", "status"), ("secrets", "list"), ("agent", "list"), ("device", "logs", "pi-1")):
            refused = fleet(*words)
            assert refused.code == 2
            assert "somebody has changed the ConfigMap fleet-server" in refused.err
            assert "kubectl delete configmap fleet-server" in refused.err
        kube.kubectl("-n", namespace, "delete", "configmap", "fleet-server")
        assert fleet(*install_words(idp)).code == 0
        assert fleet("server", "status").code == 0
    kube.kubectl("-n", namespace, "patch", "configmap", "fleet-server", "--type=merge", "-p", '{"data": null}')
    assert fleet("server", "uninstall").code == 0


def test_an_uninstall_keeps_devices_and_secrets(
    installed: Place, fleet: Fleet, idp: Idp, probe: KubeProbe, tmp_path: Path
) -> None:
    probe.create(probe.path("devices"), {"apiVersion": API, "kind": "Device", "metadata": {"name": "pi-1"}, "spec": {}})
    before = values(tmp_path / "secrets")
    answer = fleet("server", "uninstall")
    assert answer.code == 0, answer.err
    assert installed.running == {}
    assert probe.server() is None
    assert probe.device("pi-1") is not None
    assert fleet("server", "uninstall").code == 3
    assert fleet(*install_words(idp)).code == 0
    assert values(tmp_path / "secrets") == before


def test_a_server_of_which_nothing_is_left_is_not_ready(installed: Place, fleet: Fleet) -> None:
    installed.running.clear()
    answer = fleet("server", "status", "--output", "json")
    assert answer.code == 1
    assert answer.json["ready"] is False
    assert "no part of it is there" in answer.err


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("meta.helm.sh/release-name=mine", "managed by helm, as the release mine"),
        ("argocd.argoproj.io/tracking-id=fleet", "managed by ArgoCD"),
    ],
)
def test_what_others_installed_is_theirs_to_remove(
    installed: Place, fleet: Fleet, kube: Kube, namespace: str, annotation: str, words: str
) -> None:
    kube.kubectl("-n", namespace, "annotate", "serviceaccount", "fleet-operator", annotation)
    answer = fleet("server", "uninstall", "--delete-data")
    assert answer.code == 5
    assert words in answer.err
    assert installed.running


def test_an_identity_provider_that_is_down(fleet: Fleet, idp: Idp, place: Place) -> None:
    idp.set(faults=[{"path": "/management/v1", "times": 99, "status": 503}])
    answer = fleet(*install_words(idp))
    assert answer.code == 6
    assert idp.issuer in answer.err
    assert place.running == {}


def test_a_token_that_is_no_admins(fleet: Fleet, idp: Idp, place: Place) -> None:
    Path("admin.pat").write_text("wrong")
    answer = fleet(*install_words(idp))
    assert answer.code == 7
    assert "wrong" not in answer.err
    assert place.running == {}


def test_a_token_file_that_others_can_read(fleet: Fleet, idp: Idp, place: Place) -> None:
    del place
    Path("admin.pat").chmod(0o644)
    answer = fleet(*install_words(idp))
    assert answer.code == 2
    assert "chmod 600 admin.pat" in answer.err


def test_a_topology_that_nobody_knows(fleet: Fleet, idp: Idp, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del namespace
    monkeypatch.setenv("FLEET_TOPOLOGY", "moon")
    answer = fleet(*install_words(idp))
    assert answer.code == 2
    assert "nothing here can install on the topology 'moon'" in answer.err


def test_a_manifest_of_the_server_is_json(installed: Place) -> None:
    assert msgspec.json.decode(installed.running["nats"].files["nats.json"])["system_account"] == "SYS"


def test_an_uninstall_that_breaks_off_can_be_repeated(installed: Place, fleet: Fleet, probe: KubeProbe) -> None:
    def fail(objects: Sequence[Json]) -> list[Applied]:
        del objects
        raise Unreachable("the cluster went away", next_step="wait")

    works, installed.delete = installed.delete, fail
    assert fleet("server", "uninstall").code == 6
    installed.delete = works
    assert fleet("server", "uninstall").code == 0
    assert probe.server() is None


def test_options_of_kubernetes_without_it(
    fleet: Fleet, idp: Idp, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del namespace
    monkeypatch.setenv("FLEET_TOPOLOGY", "process")
    answer = fleet(*install_words(idp), "--image", "fleet:any")
    assert answer.code == 2
    assert "leave the options of Kubernetes away, or unset FLEET_TOPOLOGY" in answer.err
