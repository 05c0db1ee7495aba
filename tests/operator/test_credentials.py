"""Where the operator's way to the API server comes from."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from fleet.contract.errors import InvalidInput, NotFound
from fleet.kube import kubeconfig
from fleet.kube.kubeconfig import Access
from fleet.operator.credentials import read_credentials
from tests.support.tls import make_tls

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: two
clusters:
- name: a
  cluster: {{server: "https://a:6443", certificate-authority-data: {data}}}
- name: b
  cluster: {{server: "https://b:6443", certificate-authority: ca.crt}}
users:
- name: direct
  user: {{token: first}}
- name: by-file
  user: {{tokenFile: token}}
- name: by-certificate
  user: {{client-certificate: x}}
contexts:
- name: one
  context: {{cluster: a, user: direct}}
- name: two
  context: {{cluster: b, user: by-file}}
- name: three
  context: {{cluster: a, user: by-certificate}}
"""


def write(folder: Path, context: str) -> str:
    data = base64.b64encode(b"embedded").decode()
    text = KUBECONFIG.format(data=data).replace("current-context: two", f"current-context: {context}")
    path = folder / "kubeconfig"
    path.write_text(text)
    return str(path)


def test_a_kubeconfig_embeds_what_it_needs_or_names_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("from a file")
    (tmp_path / "token").write_text("second\n")
    one, two = read_credentials(write(tmp_path, "one")), read_credentials(write(tmp_path, "two"))
    assert (one.url, one.ca, one.bearer()) == ("https://a:6443", "embedded", "first")
    assert (two.url, two.ca, two.bearer()) == ("https://b:6443", "from a file", "second")


def test_a_renewed_token_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("x")
    (tmp_path / "token").write_text("old")
    path = write(tmp_path, "two")
    assert read_credentials(path).bearer() == "old"
    (tmp_path / "token").write_text("new")
    assert read_credentials(path).bearer() == "new"


def test_what_is_of_no_use_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a certificate")
    with pytest.raises(InvalidInput, match="no token"):
        read_credentials(write(tmp_path, "three"))
    with pytest.raises(InvalidInput, match="there is no context 'four'"):
        read_credentials(write(tmp_path, "four"))
    with pytest.raises(NotFound, match=r"ca\.crt"):
        read_credentials(write(tmp_path, "two"))
    with pytest.raises(InvalidInput, match="PEM"):
        Access("https://a", "nonsense", token="t").trust()


def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text(make_tls(tmp_path).ca)
    (tmp_path / "token").write_text("mounted\n")
    monkeypatch.setattr(kubeconfig, "_MOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    found = read_credentials("")
    assert (found.url, found.bearer()) == ("https://[fd00::1]:6443", "mounted")
    found.trust()


def test_credentials_say_no_secret() -> None:
    assert "hidden" not in repr(Access("https://a", "ca", token="hidden", password="hidden", key="hidden"))
