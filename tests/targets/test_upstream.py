"""The way to a cluster's API server is given out only once somebody listens there."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from harness.processes.spawn import python_script, socket_answers
from harness.targets.cluster.description import Description
from harness.targets.cluster.upstream import client, upstream

SLOW = """
import os, socketserver, sys
from http.server import BaseHTTPRequestHandler

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass

path = next(word for word in sys.argv if word.startswith("--unix-socket=")).partition("=")[2]
with socketserver.UnixStreamServer(path, Answer, bind_and_activate=False) as server:
    server.server_bind()
    with open(os.environ["REFUSED"], "rb", buffering=0) as refused:
        refused.read(1)
    server.server_activate()
    server.serve_forever()
"""
"""A `kubectl proxy` that listens only after somebody found its socket, and nobody behind it."""


def test_a_bound_socket_does_not_answer_yet() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        path = Path(folder) / "s"
        assert not socket_answers(path)
        server.bind(str(path))
        assert path.exists()
        assert not socket_answers(path)
        server.listen()
        assert socket_answers(path)


def test_a_proxy_that_is_a_moment_late_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubectl makes the file by bind(2), and refuses whoever connects before it calls listen(2)."""
    refused = tmp_path / "refused"
    os.mkfifo(refused)
    tell = os.open(refused, os.O_RDWR)  # so that neither end waits for the other to open it

    def answers(path: Path) -> bool:
        found = path.exists()
        if not (answered := socket_answers(path)) and found:
            os.write(tell, b".")
        return answered

    (tmp_path / "kubectl").write_text(python_script("-c", SLOW))
    (tmp_path / "kubectl").chmod(0o700)
    module = sys.modules[upstream.__module__]
    monkeypatch.setattr(module, "inherited", lambda: {"PATH": str(tmp_path), "REFUSED": str(refused)})
    monkeypatch.setattr(module, "socket_answers", answers)
    description = Description(tmp_path / "kubeconfig", "fleet", "https://id.example", tmp_path / "ca.pem")
    with tempfile.TemporaryDirectory() as folder, upstream(description, Path(folder)) as way, client(way) as http:
        assert http.get("/version").status_code == 204
    os.close(tell)
