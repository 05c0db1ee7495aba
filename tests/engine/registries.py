"""A login at a private registry, and a registry that does what the first part of an image's path says, with TLS."""

from __future__ import annotations

import contextlib
import gzip
import json
import ssl
import threading
from collections.abc import Generator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fleet.contract.sealed import RegistryLogin
from harness.images.private_registry import MANIFEST, PASSWORD, USER, Image, PrivateRegistry, digest
from harness.targets.certificates import Authority


def login_at(registry: PrivateRegistry, password: str = PASSWORD) -> RegistryLogin:
    return RegistryLogin(USER, password, registry.address, secret="registry")


ANSWERS = {
    "unauthorized": 401,
    "denied": 403,
    "manifest_unknown": 404,
    "toomanyrequests": 429,
    "unknown": 500,
    "unavailable": 503,
}
"""Errors that a registry answers, by the first part of an image's path (OCI distribution specification, "Error Codes").

Other first parts are `silent` (no answer), and those of `LAYERS`.
"""
LAYERS = ("stalls", "cut", "other", "slow")
"""Half of a layer, and no more; half of a layer, and the end; a layer with another digest; all of a layer, in seconds.

Each has an image of its own: an engine that fetched the layer of one asks for it never again, whatever its image.
"""

_PIECE, _PAUSE = 64 * 1024, 0.3
"""Bytes, and seconds between two: podman says once a second how far it is."""


class _Scripted(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    images: Mapping[str, Image]
    ended: threading.Event

    def do_GET(self) -> None:
        parts = self.path.split("/")
        script = parts[2] if self.path != "/v2/" else ""
        if script == "silent":
            self.ended.wait()
        elif script in ANSWERS:
            error = {"code": script.upper(), "message": f"the registry says {ANSWERS[script]}"}
            self._answer(ANSWERS[script], json.dumps({"errors": [error]}).encode())
        elif not script:
            self._answer(200, b"{}")
        elif "manifests" in parts:
            self._answer(200, self.images[script].manifest, kind=MANIFEST)
        elif parts[-1] == digest(self.images[script].config):
            self._answer(200, self.images[script].config)
        else:
            self._layer(script, self.images[script].layer)

    do_HEAD = do_GET  # noqa: N815 - as the library names it

    def _layer(self, script: str, layer: bytes) -> None:
        if script == "other":
            self._answer(200, gzip.compress(b"another"))
            return
        if script == "slow":
            self._answer(200, b"", length=len(layer))
            for start in range(0, len(layer), _PIECE):
                self.wfile.write(layer[start : start + _PIECE])
                self.ended.wait(_PAUSE)
            return
        self._answer(200, layer[: len(layer) // 2], length=len(layer))
        self.close_connection = True
        if script == "stalls":
            self.wfile.flush()
            self.ended.wait()

    def _answer(self, status: int, body: bytes, *, length: int = 0, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status == 429:
            self.send_header("Retry-After", "0")  # podman tries again, for a minute where it is not told
        self.send_header("Content-Length", str(length or len(body)))
        if kind == MANIFEST:
            self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library names it
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: an engine that gives up closes its connection."""


@contextlib.contextmanager
def scripted_registry(host: str, authority: Authority) -> Generator[str]:
    """A registry that does what the first part of an image's path says; yields its address."""
    handler = type(
        "Handler", (_Scripted,), {"images": {one: Image.new() for one in LAYERS}, "ended": threading.Event()}
    )
    server = _Server((host, 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("scripted", hosts=(host,)))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        handler.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
