"""Kubeconfigs as kubectl reads them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.contract.errors import InvalidInput, NotFound
from fleet.kube.kubeconfig import access, read_files

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


def one(server: str, token: str, *, name: str = "one") -> str:
    return (
        f"current-context: {name}\n"
        f"clusters: [{{name: {name}, cluster: {{server: '{server}'}}}}]\n"
        f"users: [{{name: {name}, user: {{token: {token}}}}}]\n"
        f"contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]\n"
    )


def test_of_two_things_with_one_name_the_first_file_holds(write: Write) -> None:
    first, second = write("a", one("https://a", "first")), write("b", one("https://b", "second"))
    found = read_files([first, second])
    assert (found.url, found.bearer()) == ("https://a", "first")
    found = read_files([second, first])
    assert (found.url, found.bearer()) == ("https://b", "second")


def test_a_context_may_name_what_another_file_holds(write: Write) -> None:
    context = write("a", "current-context: two\nclusters: null\nusers:\ncontexts:\n")
    rest = write("b", one("https://b", "second", name="two"))
    assert read_files([context, rest]).url == "https://b"


def test_a_context_that_is_asked_for(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write("a", one("https://a", "first")), write("b", one("https://b", "second", name="two"))
    monkeypatch.setenv("KUBECONFIG", f"{first}{os.pathsep}{second}")
    assert access().url == "https://a"
    assert access("two").url == "https://b"
    with pytest.raises(InvalidInput, match="no context 'three'"):
        access("three")


def test_paths_are_relative_to_the_file_that_holds_them(write: Write) -> None:
    write("x/ca.pem", "authority")
    write("y/token", "fresh\n")
    write("y/cert.pem", "certificate")
    write("y/key.pem", "key")
    cluster = write("x/config", "clusters: [{name: c, cluster: {server: 'https://c', certificate-authority: ca.pem}}]")
    user = write(
        "y/config",
        "current-context: c\n"
        "users: [{name: u, user: {tokenFile: token, client-certificate: cert.pem, client-key: key.pem,"
        " exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login}}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\n",
    )
    found = read_files([cluster, user])
    assert (found.ca, found.bearer(), found.certificate, found.key) == ("authority", "fresh", "certificate", "key")
    assert found.plugin is not None
    assert found.plugin.command == str(user.parent / "login")


def test_what_is_embedded_wins_over_a_file(write: Write) -> None:
    data = base64.b64encode(b"embedded").decode()
    text = one("https://a", "t").replace(
        "server: 'https://a'", f"server: 'https://a', certificate-authority: ca.pem, certificate-authority-data: {data}"
    )
    assert read_files([write("a", text)]).ca == "embedded"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("current-context: one", "current-context: ''"), "no current context"),
        (("cluster: one", "cluster: none"), "no cluster 'none'"),
        (("user: one", "user: none"), "no user 'none'"),
        (("server: 'https://a'", "server: 7"), "Expected a text"),
        (("server: 'https://a'", "server: x, certificate-authority-data: '%'"), "not base64"),
        (("token: t", "auth-provider: {name: gcp}"), "auth-provider"),
    ],
)
def test_what_is_wrong_is_said(change: tuple[str, str], why: str, write: Write) -> None:
    text = one("https://a", "t")
    assert change[0] in text
    with pytest.raises(InvalidInput, match=why) as caught:
        read_files([write("config", text.replace(*change))])
    assert "kubectl get namespaces" in caught.value.next_step


def test_a_file_that_is_named_and_gone(write: Write) -> None:
    text = one("https://a", "t").replace("token: t", "tokenFile: gone")
    with pytest.raises(NotFound, match="gone"):
        read_files([write("config", text)]).bearer()


def test_where_no_kubeconfig_can_be_read_it_is_said_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is not said to be missing; a device file has no end."""
    for place, why in ((tmp_path, "Is a directory"), (Path("/dev/zero"), "File too large")):
        monkeypatch.setenv("KUBECONFIG", str(place))
        with pytest.raises(NotFound, match=f"cannot read {place}: {why}"):
            access()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / ("n" * 300)))
    with pytest.raises(NotFound, match="File name too long"):
        access()
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/gone:/dev/null/x")
    with pytest.raises(InvalidInput, match="there is no kubeconfig"):
        access()


def test_a_kubeconfig_may_come_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of `KUBECONFIG=<(...)` in a shell."""
    reading, writing = os.pipe()
    os.write(writing, one("https://a", "t").encode())
    os.close(writing)
    monkeypatch.setenv("KUBECONFIG", f"/dev/fd/{reading}")
    assert access().url == "https://a"
    os.close(reading)


def test_json_is_yaml(write: Write) -> None:
    config = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://c/k8s/", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"username": "me", "password": "secret"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    found = read_files([write("config", json.dumps(config))])
    assert (found.url, found.insecure, found.username, found.password) == ("https://c/k8s", True, "me", "secret")


def test_in_a_pod_without_a_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(NotFound, match=r"serviceaccount/ca\.crt"):
        access()
