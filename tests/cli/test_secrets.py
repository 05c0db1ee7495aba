"""`fleet secrets rotate`: what it refuses, before anything is touched. That it rotates, a scenario shows."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.contract.errors import Conflict
from fleet.install.tls import new_authority, new_key
from fleet.kube.client import KubeClient
from fleet.rotation.lease import lease
from harness.probes.kube import KubeProbe
from tests.cli.conftest import PAT, Fleet, Json, Place, install_words
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube

_FILES = ("--key", "release.key", "--out", "release-2.key", "--trusted-keys", "trusted-keys.json")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "name one secret, or give --due"),
        (("nats_app_pass", "--due"), 2, "name one secret, or give --due"),
        (("--due", "--abort"), 2, "--abort is for one secret"),
        (("nats_app_pass", "--timeout", "nan"), 2, "--timeout"),
        (("passwords",), 4, "there is no secret 'passwords'"),
        (("zitadel_tls_key",), 3, "no fleet server is installed"),
        (("zitadel_admin_pass",), 7, "zitadel_admin_pass: it cannot be rotated: it is the first password"),
        (("nats_app_pass", "--leave-behind", "pi-1"), 2, "--leave-behind is for ca_key"),
        (("device_key",), 2, "device_key is a secret of each device"),
        (("device_key", "Pi_1"), 2, "Pi_1"),
        (("device_key", "pi-1", "--due"), 2, "--due and --leave-behind are not for device_key"),
        (("device_key", "pi-1", "--leave-behind", "pi-1"), 2, "--due and --leave-behind are not for device_key"),
        (("device_key", "--selector", "site in"), 2, "site in"),
        (("nats_app_pass", "--wait", "--dry-run"), 2, "--wait has nothing to wait for with --dry-run"),
        (("nats_app_pass", "pi-1"), 2, "devices are chosen for device_key only"),
        (("nats_app_pass", "--selector", "site=lab"), 2, "devices are chosen for device_key only"),
        (("device_key", "pi-1"), 3, "no fleet server is installed"),
        (("postgres_pass", "--dry-run"), 3, "no fleet server is installed"),
        (("zitadel_master_key",), 7, "zitadel_master_key: it cannot be rotated: Zitadel has no way"),
        (("nats_app_pass",), 3, "no fleet server is installed"),
        (("release_key",), 2, "its owner has it"),
        (("release_key", "--key", "a", "--out", "b"), 2, "its owner has it"),
        (("release_key", "pi-1", *_FILES), 2, "devices are chosen for device_key only"),
        (("release_key", "--due", *_FILES), 2, "name one secret, or give --due"),
        (("release_key", "--wait", "--dry-run", *_FILES), 2, "--wait has nothing to wait for with --dry-run"),
        (("nats_app_pass", *_FILES), 2, "--key, --out and --trusted-keys are for release_key only"),
        (("release_key", *_FILES), 3, "no fleet server is installed"),
        (("admin_token",), 2, "name it: --admin-token-file"),
        (("admin_token", "--admin-oidc-client-id", "1"), 2, "name it: --admin-token-file"),
        (("admin_token", *PAT, "--wait"), 2, "--wait is for devices"),
        (("admin_token", *PAT, "--due"), 2, "name one secret, or give --due"),
        (("admin_token", *PAT, "--leave-behind", "pi-1"), 2, "--leave-behind is for ca_key"),
        (("nats_app_pass", "--token-id", "7"), 2, "--token-id is for admin_token only"),
        (("admin_token", *PAT), 3, "no fleet server is installed"),
    ],
)
def test_what_is_refused_at_the_door(place: Place, fleet: Fleet, words: tuple[str, ...], code: int, said: str) -> None:
    del place
    answer = fleet("secrets", "rotate", *words)
    assert (answer.code, said in answer.err) == (code, True), answer.err


def announced(kube: Kube, namespace: str, change: Json) -> None:
    patch = json.dumps({"data": change})
    kube.kubectl("-n", namespace, "patch", "configmap", "fleet-server", "--type=merge", "-p", patch)


def test_a_server_of_another_release(
    installed: Place, fleet: Fleet, kube: Kube, namespace: str, probe: KubeProbe
) -> None:
    del installed, probe
    found = KubeClient().find("ConfigMap", "fleet-server", namespace)
    assert found
    install = json.loads(found["data"]["install.json"])
    install["settings"]["version"] = "v0.0.9"
    server = {**json.loads(found["data"]["server.json"]), "version": "v0.0.9"}
    announced(kube, namespace, {"install.json": json.dumps(install), "server.json": json.dumps(server)})
    answer = fleet("secrets", "rotate", "nats_app_pass")
    assert answer.code == 5
    assert "the server is of release v0.0.9" in answer.err
    announced(kube, namespace, {"install.json": None})
    answer = fleet("secrets", "rotate", "nats_app_pass")
    assert answer.code == 3
    assert "which does not rotate secrets" in answer.err
    status = fleet("server", "status", "--output", "json")
    assert status.code == 0, "its secrets are one thing, its parts another"
    assert "not looked at" in status.json["secrets"]["secrets"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("issuer", "https://other.example.org"),
        ("issuer_ca", "another"),
        ("project_id", "7"),
        ("version", "v9.0"),
    ],
)
def test_an_announcement_that_contradicts_itself(
    installed: Place, fleet: Fleet, kube: Kube, namespace: str, field: str, value: str
) -> None:
    """Else whoever may write it, and no more, could have an admin's rotation let another provider's devices in."""
    found = KubeClient().find("ConfigMap", "fleet-server", namespace)
    assert found
    install = json.loads(found["data"]["install.json"])
    install["settings"][field] = value
    announced(kube, namespace, {"install.json": json.dumps(install)})
    before = dict(installed.running)
    answer = fleet("secrets", "rotate", "nats_app_pass")
    assert answer.code == 5
    assert "contradicts what it remembers" in answer.err
    assert installed.running == before


def test_a_value_that_is_no_secret_of_its_kind(installed: Place, fleet: Fleet) -> None:
    store = installed.secrets
    kept = store.versions("nats_issuer_seed")
    assert kept
    (store._folder / "nats_issuer_seed").write_text("edited by hand")  # pyright: ignore[reportPrivateUsage]
    answer = fleet("secrets", "rotate", "nats_issuer_seed")
    assert answer.code == 2
    assert "the secret nats_issuer_seed is damaged" in answer.err
    assert "edited by hand" not in answer.err


def test_an_authority_that_was_pasted_into_the_announcement(
    installed: Place, fleet: Fleet, kube: Kube, namespace: str
) -> None:
    """Else passwords would be sent to whoever has its key."""
    found = KubeClient().find("ConfigMap", "fleet-server", namespace)
    assert found
    server = json.loads(found["data"]["server.json"])
    other = new_authority(new_key(), "another").decode()
    before = dict(installed.running)
    for ca in (other, server["ca"] + other):
        announced(kube, namespace, {"server.json": json.dumps({**server, "ca": ca})})
        answer = fleet("secrets", "rotate", "nats_app_pass")
        assert answer.code == 7, answer.err
        assert "fleet server trust" in answer.err
    assert installed.running == before


def test_an_authority_that_was_pasted_into_the_store(installed: Place, fleet: Fleet, idp: Idp) -> None:
    """An install would sign NATS' certificate with what no device trusts."""
    path = installed.secrets._folder / "ca_cert"  # pyright: ignore[reportPrivateUsage]
    path.write_bytes(new_authority(new_key(), "another"))
    before = dict(installed.running)
    for words in (("secrets", "rotate", "nats_app_pass"), ("secrets", "list"), install_words(idp)):
        answer = fleet(*words)
        assert answer.code == 2, answer.err
        assert "the secret ca_cert is damaged: it is the certificate of another key than ca_key" in answer.err
    assert installed.running == before
    status = fleet("server", "status", "--output", "json")
    assert status.code == 0, status.err
    assert "the secret ca_cert is damaged" in status.json["secrets"]["secrets"]


def test_a_provider_that_the_last_install_did_not_name_keeps_the_authority_and_the_list_says_so(
    installed: Place, fleet: Fleet
) -> None:
    """It is not due either: else `--due` would end at it."""
    installed.secrets.get_or_create("zitadel_tls_key", new_key)
    installed.secrets.get_or_create("zitadel_master_key", lambda: b"x" * 32)
    listed = {one["name"]: one for one in fleet("secrets", "list", "--output", "json").json}
    for name in ("ca_key", "zitadel_tls_key"):
        shown = listed[name]
        assert "repeat `fleet server install` with --bundled-identity" in shown["state"]
        assert (shown["rotates"], shown["due"]) == (False, None)
    assert "no way to encrypt anew" in listed["zitadel_master_key"]["state"]
    refused = fleet("secrets", "rotate", "ca_key")
    assert (refused.code, "an earlier install has brought an identity provider" in refused.err) == (7, True)


def test_the_token_of_an_admin(installed: Place, fleet: Fleet, idp: Idp) -> None:
    """One of the admin's tokens, for the double's own is needed by other tests."""
    del installed
    headers = {"Authorization": f"Bearer {idp.admin_token}"}
    user = idp.http.get("/oidc/v1/userinfo", headers=headers).json()["sub"]
    old = idp.made(f"/users/{user}/pats", {})
    file = Path("admin.pat")
    file.write_text(old["token"])
    words = ("secrets", "rotate", "admin_token", *PAT)
    ambiguous = fleet(*words)
    assert ambiguous.code == 2
    assert f"  {old['tokenId']}: made " in ambiguous.err
    foretold = fleet(*words, "--dry-run", "--output", "json")
    assert foretold.json[0]["outcome"] == "it would begin here: the rotation is noted beside the file"
    assert file.read_text() == old["token"]
    done = fleet(*words, "--token-id", old["tokenId"], "--output", "json")
    assert done.code == 0, done.err
    assert done.json[0]["outcome"].startswith(f"rotated, now {done.json[0]['id']}: copies of the old one elsewhere")
    assert idp.manage("GET", "/orgs/me", token=old["token"]).status_code == 401
    assert idp.manage("GET", "/orgs/me", token=file.read_text().strip()).status_code == 200
    for text in (old["token"], file.read_text().strip()):
        assert text not in done.out + done.err
    assert fleet(*words, "--abort").out == "admin_token: nothing to do\n"
    listed = {one["name"]: one for one in fleet("secrets", "list", "--output", "json").json}
    assert (listed["admin_token"]["state"], listed["admin_token"]["rotates"]) == ("not seen from here", True)


def test_another_rotation_goes_on(installed: Place, fleet: Fleet, namespace: str) -> None:
    del installed
    with lease(KubeClient(), namespace, "nats_xkey_seed"):
        answer = fleet("secrets", "rotate", "nats_app_pass")
    assert answer.code == 5
    assert "another rotation is going on: nats_xkey_seed by " in answer.err


def test_an_install_waits_for_the_end_of_a_rotation(installed: Place, fleet: Fleet, idp: Idp, namespace: str) -> None:
    del installed
    with lease(KubeClient(), namespace, "nats_xkey_seed"):
        refused = fleet(*install_words(idp))
    assert (refused.code, refused.out) == (5, "")
    assert "another rotation is going on: nats_xkey_seed by " in refused.err
    assert "nothing changed" in fleet(*install_words(idp)).out


def held_by(kube: Kube, namespace: str, holder: str, *, age: float) -> None:
    renewed = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    change = json.dumps({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 30, "renewTime": renewed}})
    kube.kubectl("-n", namespace, "patch", "lease", "fleet-rotation", "--type=merge", "-p", change)


def test_a_lease_whose_holder_is_gone_is_taken_over(installed: Place, kube: Kube, namespace: str) -> None:
    """At once where it ran on this machine, also while nobody has taken note of its end; else when its time is up."""
    del installed
    client = KubeClient()
    with lease(client, namespace, "a") as held:
        mine = held.holder
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still listed
    gone = mine.replace(f"/{os.getpid()}", f"/{child.pid}")
    for holder, age in ((gone, 0), ("a by elsewhere/1", 31)):
        client.create(held.object())
        held_by(kube, namespace, holder, age=age)
        with lease(client, namespace, "b"):
            pass
        assert client.find("Lease", "fleet-rotation", namespace) is None
    child.wait()
    client.create(held.object())
    held_by(kube, namespace, "a by elsewhere/1", age=5)
    with pytest.raises(Conflict, match="another rotation is going on: a by elsewhere/1"), lease(client, namespace, "b"):
        pass
