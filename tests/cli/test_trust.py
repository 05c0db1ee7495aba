"""Rights on a ConfigMap yield nobody's credentials: what a server says of itself is bound at its first use."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.cli.store import config_folder, store, stored_token
from fleet.cli.trust import check, confirm, known, server_key
from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.contract.objects import SERVER_CONFIG_MAP, ServerInfo
from fleet.identity.access_token import AccessToken
from harness.probes.kube import KubeProbe
from tests.cli.conftest import Fleet, Place
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube
from tests.support.tls import make_tls

PAT = ("--admin-token-file", "admin.pat")
INFO = ServerInfo("https://id.example.org", "1", "2", "tls://nats.example.org:4222", "PEM", "v0.1.0")


@contextmanager
def listener() -> Generator[tuple[int, list[bytes]]]:
    """A port on which somebody waits for a credential, and what came there."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                came.append(b"somebody")
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], came
        ended.set()
        thread.join()


def tamper(kube: Kube, namespace: str, **fields: str) -> None:
    text = kube.kubectl("-n", namespace, "get", "configmap", SERVER_CONFIG_MAP, "-o", "jsonpath={.data.server\\.json}")
    said: dict[str, Any] = json.loads(text) | fields
    patch = json.dumps({"data": {"server.json": json.dumps(said)}})
    kube.kubectl("-n", namespace, "patch", "configmap", SERVER_CONFIG_MAP, "--type=merge", "-p", patch)


COMMANDS = {
    "enroll": ("device", "enroll", "--device-id", "pi-2", "--out", "pi-2.json", *PAT),
    "enroll by device code": ("device", "enroll", "--device-id", "pi-2", "--out", "pi-2.json"),
    "login": ("login",),
    "agent list": ("agent", "list"),
    "agent show": ("agent", "show", "v0.1.0"),
    "delete": ("device", "delete", "pi-1", *PAT),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
@pytest.mark.parametrize("field", ["issuer", "ca", "natsUrl"])
def test_nothing_is_sent_to_a_server_that_has_changed(
    fleet: Fleet, installed: Place, kube: Kube, namespace: str, tmp_path: Path, words: tuple[str, ...], field: str
) -> None:
    del installed
    assert fleet("device", "enroll", "--device-id", "pi-1", "--out", "pi-1.json", *PAT).code == 0
    with listener() as (port, came):
        values = {
            "issuer": f"https://127.0.0.1:{port}",
            "natsUrl": f"tls://127.0.0.1:{port}",
            "ca": make_tls(tmp_path).ca,
        }
        tamper(kube, namespace, **{field: values[field]})
        answer = fleet(*words)
    assert came == []
    said = answer.err + answer.out
    assert "has changed since you used it first" in said
    assert "nothing was sent" in said
    if words[1:2] == ("delete",):
        assert answer.code == 0, "the device is out; its identity is left as it is"
    else:
        assert answer.code == 7
        assert "fleet server trust" in answer.err


def test_a_change_is_taken_once_it_was_confirmed_by_name(
    fleet: Fleet, installed: Place, idp: Idp, kube: Kube, namespace: str
) -> None:
    del installed, idp
    tamper(kube, namespace, natsUrl="tls://nats-2.example.org:4222")
    enroll = ("device", "enroll", "--device-id", "pi-1", "--out", "pi-1.json", *PAT)
    assert fleet(*enroll).code == 7
    issuer = fleet("server", "status", "-o", "json").json["issuer"]
    assert fleet("server", "trust", "--issuer", issuer).code == 5, "the change itself was not named"
    change = ("--nats-url", "tls://nats-2.example.org:4222")
    assert fleet("server", "trust", "--issuer", "https://other.example.org", *change).code == 5
    done = fleet("server", "trust", "--issuer", issuer, *change)
    assert done.code == 0
    assert done.out.endswith("is trusted\n")
    again = fleet("server", "trust", "--issuer", issuer)
    assert again.out.endswith("was trusted already; nothing changed\n")
    assert fleet(*enroll).code == 0


def test_the_first_use_is_told_and_kept_for_the_admin_alone(
    fleet: Fleet, installed: Place, probe: KubeProbe, namespace: str
) -> None:
    del installed
    (config_folder() / "trusted.json").unlink()
    words = ("device", "enroll", "--out", "pi.json", *PAT, "--device-id")
    first = fleet(*words, "pi-1")
    assert "first use of " in first.err
    assert f"/{namespace}" in first.err
    Path("pi.json").unlink()
    assert "first use of " not in fleet(*words, "pi-2").err
    assert stat.S_IMODE((config_folder() / "trusted.json").stat().st_mode) == 0o600
    assert Path("admin.pat").read_text() not in (config_folder() / "trusted.json").read_text()
    assert probe.device("pi-2") is not None


def test_a_token_is_not_sent_to_another_issuer_by_a_server_used_first() -> None:
    check(server_key("https://a", "one"), INFO, "token")
    other = msgspec.structs.replace(INFO, issuer="https://evil.example.org")
    with pytest.raises(NotPermitted, match=r"this token was given for https://id\.example\.org"):
        check(server_key("https://a", "two"), other, "token")
    assert known(server_key("https://a", "two")) is None, "a refusal trusts nothing"
    check(server_key("https://a", "two"), INFO, "token")
    check(server_key("https://a", "three"), other, "another token")


def test_a_stored_login_is_for_one_issuer_and_its_authority() -> None:
    store("https://id.example.org", "PEM", AccessToken("token", 10**12, 3600))
    assert stored_token("https://id.example.org", "PEM") is not None
    assert stored_token("https://id.example.org", "another PEM") is None
    assert stored_token("https://evil.example.org", "PEM") is None


def test_a_stored_login_follows_authorities_that_were_confirmed_and_nothing_else() -> None:
    """After a rotation of the authority nobody logs in again; a mere change of the announcement moves no token."""
    key, issuer = server_key("https://a", "one"), INFO.issuer
    store(issuer, INFO.ca, AccessToken("token", 10**12, 3600))
    check(key, INFO)
    new = msgspec.structs.replace(INFO, ca="another PEM")
    with pytest.raises(NotPermitted):
        check(key, new)
    assert stored_token(issuer, new.ca) is None
    elsewhere = msgspec.structs.replace(INFO, issuer="https://evil.example.org", ca="another PEM")
    for other, server in (("two", new), ("three", elsewhere)):  # first uses, and another issuer: never with this login
        confirm(server_key("https://a", other), server)
        assert stored_token(issuer, INFO.ca) is not None
        assert stored_token(server.issuer, server.ca) is None
    confirm(key, elsewhere)
    assert stored_token(elsewhere.issuer, elsewhere.ca) is None
    confirm(key, INFO)
    confirm(key, new)
    assert stored_token(issuer, INFO.ca) is None
    found = stored_token(issuer, new.ca)
    assert found
    assert found.read_text() == "token"
    assert stat.S_IMODE((config_folder() / "login.json").stat().st_mode) == 0o600


def test_a_login_that_is_damaged_or_missing_hinders_no_confirmation() -> None:
    key, new = server_key("https://a", "one"), msgspec.structs.replace(INFO, ca="another PEM")
    confirm(key, INFO)
    assert confirm(key, new)
    (config_folder() / "login.json").write_text("{")
    assert confirm(key, INFO)
    assert stored_token(INFO.issuer, INFO.ca) is None


def test_a_damaged_memory_trusts_nobody() -> None:
    check(server_key("https://a", "one"), INFO)
    (config_folder() / "trusted.json").write_text("{")
    with pytest.raises(InvalidInput, match="is damaged"):
        check(server_key("https://a", "one"), INFO)


def test_a_home_that_cannot_be_written_is_told_before_anything(
    fleet: Fleet, installed: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del installed
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    for words in (COMMANDS["login"], COMMANDS["enroll"]):
        answer = fleet(*words)
        assert answer.code == 7
        assert "XDG_CONFIG_HOME" in answer.err
        assert "To log in" not in answer.err
