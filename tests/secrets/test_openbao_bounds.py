"""An OpenBao, or what stands in its place, cannot fill an admin's memory, nor hold his command for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.contract.errors import Unreachable
from fleet.secrets import openbao_api
from fleet.secrets.openbao_api import OpenBaoApi
from fleet.secrets.openbao_config import Credentials, OpenBao

ENOUGH = 64 * 2**20
"""Bytes after which a test's server gives up: far more than any answer has."""


@pytest.fixture
def endless() -> Iterator[tuple[str, list[int]]]:
    """A server whose answers have no end; its URL, and how many bytes it has sent."""
    sent = [0]

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while sent[0] < ENOUGH:
                sent[0] += connection.send(b" " * 65536)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent
        listener.shutdown(socket.SHUT_RDWR)


def test_an_answer_without_an_end_is_none(
    endless: tuple[str, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, sent = endless
    monkeypatch.setattr(openbao_api, "_OUTAGE", 0.1)
    (tmp_path / "token").write_text("s.token")
    (tmp_path / "token").chmod(0o600)
    api = OpenBaoApi(Credentials(OpenBao(url, "fleet", token_file="token"), "", tmp_path))
    with pytest.raises(Unreachable, match="its answer has no end"):
        api.call("GET", "secret/data/fleet/a")
    assert sent[0] < ENOUGH
