"""A connection to NATS that is refused leaves no connection open."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from fleet.contract.buckets import IDENTITIES
from harness.errors import Unanswered
from harness.probes.login import expelled, try_login
from harness.probes.nats import NatsLogin, NatsProbe
from tests.support.tls import Tls, make_tls

INFO = {"server_id": "refusing", "version": "2.15.0", "max_payload": 1024}
REFUSAL = b"-ERR 'Authorization Violation'\r\n"
DEADLINE = 30.0
"""Seconds."""


@contextlib.contextmanager
def refusing(own: Tls | None = None) -> Generator[tuple[str, threading.Event]]:
    """The address of a server of NATS that lets nobody in, and whether its client has closed the connection.

    With `own`, it begins TLS with that certificate.
    """
    closed = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.settimeout(DEADLINE)
        with connection:
            connection.sendall(b"INFO %b\r\n" % json.dumps(INFO | {"tls_required": own is not None}).encode())
            if own is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(own.cert_file, own.key_file)
                with contextlib.suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True):
                    pass
            else:
                connection.recv(4096)
                connection.sendall(REFUSAL)
                while connection.recv(4096):
                    pass
            closed.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"nats://127.0.0.1:{listener.getsockname()[1]}", closed
        thread.join(DEADLINE)


def by_password(url: str, ca: str) -> None:
    probe = NatsProbe(lambda: NatsLogin(url, ca, "fleet-app", "password"))
    try:
        probe.get(IDENTITIES, "sub-1")
    finally:
        probe.close()


def by_token(url: str, ca: str) -> None:
    assert not try_login(url, ca, "token").let_in
    raise Unanswered("not let in", next_step="")


def to_stay(url: str, ca: str) -> None:
    expelled(url, ca, "token", within=1)


@pytest.mark.parametrize("probe", [by_password, by_token, to_stay])
def test_a_refused_probe_closes_its_connection(probe: Callable[[str, str], None], tmp_path: Path) -> None:
    gc.disable()  # a collection would close it too, with a warning in whichever test runs then
    try:
        with refusing() as (url, closed):
            with pytest.raises(Unanswered):
                probe(url, make_tls(tmp_path).ca)
            assert closed.wait(DEADLINE)
    finally:
        gc.enable()


@pytest.mark.parametrize("probe", [by_password, by_token, to_stay])
def test_a_certificate_of_another_authority_is_named(probe: Callable[[str, str], None], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with refusing(make_tls(tmp_path)) as (url, _), pytest.raises(Unanswered, match="certificate"):
        probe(url, make_tls(tmp_path / "other").ca)
