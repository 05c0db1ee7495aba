"""A token server in front of Debian's `docker-registry`: it takes a password or an identity token, and signs tokens."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwt
from joserfc.jwk import ECKey

from harness.images.private_registry import PASSWORD, USER
from harness.targets.certificates import Authority

SERVICE, ISSUER, IDENTITY_TOKEN = "registry of the test", "issuer of the test", "identity-7f3a"
ALLOWED = "private/web"
"""The one repository that the user may pull."""


class TokenServer:
    """What it was asked, and the address of its tokens."""

    def __init__(self, authority: Authority, address: str) -> None:
        certificate, key = authority.issue("tokens", hosts=("127.0.0.1",))
        der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
        self._header = {"alg": "ES256", "typ": "JWT", "x5c": [base64.b64encode(der).decode()]}
        self._key = ECKey.import_key(key.read_text())
        self.realm = f"https://{address}/token"
        self.certificate = authority.certificate
        self.asked: list[str] = []
        """Paths, with their queries."""

    def token(self, scope: str) -> str:
        """As "Token Authentication Implementation" (distribution) has it; only what is allowed is in it."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        access = [{"type": kind, "name": name, "actions": actions.split(",")}] if name == ALLOWED else []
        now = int(time.time())
        times = {"nbf": now - 60, "iat": now - 60, "exp": now + 300}
        claims = {"iss": ISSUER, "sub": USER, "aud": SERVICE, "jti": "1", "access": access, **times}
        return jwt.encode(self._header, claims, self._key)


class _Handler(BaseHTTPRequestHandler):
    tokens: TokenServer

    def do_GET(self) -> None:
        place, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
        self.tokens.asked.append(self.path)
        if place.path == "/unavailable":
            self._answer(503, {})
        elif place.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/token")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif place.path == "/empty":
            self._answer(200, {"token": ""})
        elif self.headers.get("Authorization") == f"Basic {_basic()}" and query["service"] == [SERVICE]:
            self._answer(200, {"token": self.tokens.token(query["scope"][0])})
        else:
            self._answer(401, {"details": "incorrect username or password"})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.tokens.asked.append(self.path)
        if (form["grant_type"], form["refresh_token"]) == (["refresh_token"], [IDENTITY_TOKEN]):
            self._answer(200, {"access_token": self.tokens.token(form["scope"][0])})
        else:
            self._answer(400, {"error": "invalid_grant"})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library names it
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who does not trust the certificate closes the connection."""


def _basic() -> str:
    return base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextlib.contextmanager
def serving(folder: Path) -> Generator[TokenServer]:
    """A token server with TLS, of an authority of its own in `folder`."""
    authority = Authority(folder)
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    handler.tokens = TokenServer(authority, f"127.0.0.1:{server.server_port}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server", hosts=("127.0.0.1",)))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield handler.tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
