"""An identity provider that costs nothing: a fixed key set over HTTPS, and tokens signed beforehand.

The callout cannot tell it from a real one; tokens have the shape of the identity reference's JWT access token.
"""

from __future__ import annotations

import http.server
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from joserfc import jwt
from joserfc.jwk import RSAKey

from fleet.contract.config import DEVICE_ROLE
from tests.support.tls import Tls

PROJECT = "300000000000000001"
_LIFETIME = 12 * 3600


@dataclass(frozen=True)
class Issuer:
    """A running issuer: its URL, and the key it signs with."""

    url: str
    key: RSAKey

    def token(self, subject: str) -> str:
        """An access token of a device's machine user, good for 12 hours."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": subject,
            "aud": [PROJECT],
            "iat": now,
            "nbf": now,
            "exp": now + _LIFETIME,
            "jti": f"V2_{subject}-at_1",
            f"urn:zitadel:iam:org:project:{PROJECT}:roles": {DEVICE_ROLE: {"1": "fleet.localhost"}},
        }
        return jwt.encode({"alg": "RS256", "kid": self.key.kid, "typ": "JWT"}, claims, self.key, algorithms=["RS256"])


@contextmanager
def issuer(tls: Tls) -> Generator[Issuer]:
    """Serve discovery and keys on a free port while the `with` lasts."""
    key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig", "alg": "RS256"})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    url = f"https://localhost:{server.server_port}"
    pages = {
        "/.well-known/openid-configuration": {"issuer": url, "jwks_uri": f"{url}/oauth/v2/keys"},
        "/oauth/v2/keys": {"keys": [key.as_dict(private=False)]},
    }

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            body = msgspec.json.encode(page)
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Say nothing: this is not what is measured."""

    server.RequestHandlerClass = Pages
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Issuer(url, key)
    finally:
        server.shutdown()
        server.server_close()
