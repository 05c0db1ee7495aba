"""Who chooses OpenBao: the file that names it, and the mark in the cluster that the secrets are there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.contract.errors import Conflict, InvalidInput, NotFound
from fleet.kube.client import KubeClient
from fleet.secrets.chosen import chosen_store
from fleet.secrets.file import FileSecretStore
from fleet.secrets.kubernetes import KubernetesSecretStore
from fleet.secrets.openbao import OpenBaoSecretStore
from tests.secrets.conftest import OpenBaoStore
from tests.support.kube import Kube
from tests.support.openbao import Bao, secret_file


def never() -> bytes:
    raise AssertionError("the secret was made anew")


def test_without_the_variable_the_place_keeps_them(tmp_path: Path, namespace: str) -> None:
    own = FileSecretStore(tmp_path)
    assert chosen_store({}, KubeClient(), namespace, own) is own


def test_who_does_not_know_of_openbao_is_told_where_the_secrets_are(
    openbao: OpenBaoStore, namespace: str, path: str
) -> None:
    """An install would make other secrets, and a removal would leave these."""
    openbao().get_or_create("a", lambda: b"value")
    own = KubernetesSecretStore(KubeClient(), namespace)
    acts: list[Callable[[], object]] = [
        lambda: own.get("a"),
        lambda: own.versions("a"),
        lambda: own.get_or_create("b", never),
        own.clear,
    ]
    for act in acts:
        with pytest.raises(Conflict, match=rf"are in OpenBao: .* secret/{path}/{namespace}\n.*set FLEET_OPENBAO"):
            act()
    assert openbao().get("a") == b"value"


def test_a_server_whose_secrets_are_in_its_namespace_is_not_given_others(openbao: OpenBaoStore, namespace: str) -> None:
    KubernetesSecretStore(KubeClient(), namespace).get_or_create("a", lambda: b"value")
    with pytest.raises(Conflict, match=r"are not in OpenBao\n.*unset FLEET_OPENBAO"):
        openbao().get_or_create("a", never)
    with pytest.raises(Conflict):
        openbao().clear()
    assert KubernetesSecretStore(KubeClient(), namespace).get("a") == b"value"


def test_a_server_that_lost_its_mark_is_not_given_others(openbao: OpenBaoStore, kube: Kube, namespace: str) -> None:
    openbao().get_or_create("a", lambda: b"value")
    kube.kubectl("-n", namespace, "create", "configmap", "fleet-server")
    kube.kubectl("-n", namespace, "delete", "secret", "fleet-secrets")
    with pytest.raises(Conflict, match="are not in OpenBao"):
        openbao().get_or_create("b", never)


def test_another_place_in_openbao_is_refused_and_another_address_of_it_is_not(
    openbao: OpenBaoStore, bao: Bao, namespace: str
) -> None:
    openbao().get_or_create("a", lambda: b"value")
    with pytest.raises(Conflict, match=r"are in another place of OpenBao .* than the file .* names"):
        openbao(path=bao.fresh()).get_or_create("a", never)
    assert openbao(url=f"https://localhost:{bao.port}").get("a") == b"value"
    assert openbao(namespace=f"{namespace}-x").get("a") is None


def test_two_first_installs_at_once_of_which_one_has_openbao(openbao: OpenBaoStore, namespace: str) -> None:
    def make() -> bytes:
        KubernetesSecretStore(KubeClient(), namespace).get_or_create("a", lambda: b"winner")
        return b"loser"

    with pytest.raises(Conflict, match="are not in OpenBao"):
        openbao().get_or_create("a", make)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "http://bao.example.org:8200"}, "url is not the address"),
        ({"url": "https://user:pass@bao.example.org"}, "url is not the address"),
        ({"url": "https://bao.example.org/v1"}, "url is not the address"),
        ({"url": "https://bao..example.org"}, "url is not the address"),
        ({"path": "../sys"}, "path: "),
        ({"path": "a//b"}, "path: "),
        ({"mount": "/secret"}, "mount: "),
        ({"path": None}, "the field `path` is missing"),
        ({"tokenfile": "x"}, "tokenfile is unknown; did you mean tokenFile?"),
        ({"tokenFile": None}, "give tokenFile or kubernetes"),
        ({"kubernetes": {"role": "fleet"}}, "give tokenFile or kubernetes"),
        ({"tokenFile": None, "kubernetes": {"role": "a/b"}}, "kubernetes.role: "),
        ({"caFile": "nowhere.pem"}, "cannot read .*nowhere.pem"),
        ({"caFile": "token"}, "CA is not a PEM certificate"),
    ],
)
def test_a_file_that_is_wrong_is_refused_before_anything_is_contacted(
    openbao: OpenBaoStore, fields: dict[str, object], said: str
) -> None:
    with pytest.raises((InvalidInput, NotFound), match=said):
        openbao(**{"url": "https://127.0.0.1:1", **fields})


def test_a_token_that_others_can_read_is_refused(openbao: OpenBaoStore, tmp_path: Path) -> None:
    secret_file(tmp_path / "open", "s.token").chmod(0o644)
    with pytest.raises(InvalidInput, match=r"has mode 0644, but holds a secret\n.*chmod 600"):
        openbao(tokenFile="open").get("a")


def test_a_path_in_the_file_is_as_seen_from_it(
    bao: Bao, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bao.file(tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    said = json.loads(file.read_text())
    for changes in ({}, {"tokenFile": "~/token"}, {"tokenFile": str(tmp_path / "home/token")}):
        file.write_text(json.dumps({**said, **changes}))
        for name in ("home/openbao.yaml", "~/openbao.yaml"):
            store = chosen_store(
                {**os.environ, "FLEET_OPENBAO": name}, KubeClient(), namespace, FileSecretStore(tmp_path / "unused")
            )
            assert isinstance(store, OpenBaoSecretStore)
            assert store.get("a") is None
