"""A server that sends its headers byte by byte does not hold a command of the admin without end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.contract.errors import Unreachable
from fleet.identity import device_login, zitadel_api
from fleet.identity.device_login import Prompt
from fleet.identity.zitadel import Zitadel
from fleet.kube import client, http
from fleet.kube.client import KubeClient
from fleet.kube.http import KubeConnection
from fleet.kube.kubeconfig import Access
from fleet.secrets import openbao_api
from fleet.secrets.openbao_api import OpenBaoApi
from fleet.secrets.openbao_config import Credentials, OpenBao
from tests.support.slow_server import SlowServer, slow_server

WHOLE = 0.5


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowServer]:
    with slow_server(tmp_path) as server:
        yield server
    for thread in threading.enumerate():  # its connection is ended now, and with it the request that was left behind
        if thread.name == "a request with a limit":
            thread.join()


def test_kubernetes(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WHOLE", WHOLE)

    def access(_context: str) -> Access:
        return Access(f"https://{slow.address}", ca(slow))

    monkeypatch.setattr(client, "access", access)
    with pytest.raises(Unreachable, match="does not end its answer to GET api/v1/pods"):
        KubeClient().request("GET", "api/v1/pods?limit=1")


def test_a_watch_of_kubernetes(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_ANSWER", WHOLE)
    watch = KubeConnection(Access(f"https://{slow.address}", ca(slow))).lines("pods?watch=1", 0, unexpected)
    assert list(watch) == []


def test_the_identity_provider(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zitadel_api, "WHOLE", WHOLE)
    with (
        pytest.raises(Unreachable, match="does not answer in time"),
        Zitadel(f"https://{slow.address}", ca(slow), "a-token") as provider,
    ):
        provider.check()


def test_a_login_by_a_code(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_login, "WHOLE", WHOLE)
    with pytest.raises(Unreachable, match="does not answer in time"):
        device_login.device_login(f"https://{slow.address}", ca(slow), "1", tell=untold)


def test_openbao(slow: SlowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_api, "_WHOLE", WHOLE)
    monkeypatch.setattr(openbao_api, "_OUTAGE", 0.1)
    (tmp_path / "token").write_text("s.token")
    (tmp_path / "token").chmod(0o600)
    api = OpenBaoApi(Credentials(OpenBao(f"https://{slow.address}", "fleet", token_file="token"), ca(slow), tmp_path))
    with pytest.raises(Unreachable, match="does not answer: no answer in time"):
        api.call("GET", "secret/data/fleet/a")


def ca(slow: SlowServer) -> str:
    return slow.authority.read_text()


def unexpected(status: int, body: bytes) -> Exception:
    return AssertionError((status, body))


def untold(prompt: Prompt) -> None:
    raise AssertionError(prompt)
