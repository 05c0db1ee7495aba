"""A small issuer over TLS: discovery and keys, counted; and tokens of every kind, good and bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import sys
import threading
import time
from collections import Counter
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.support.tls import Tls

PROJECT = "352711906418819075"
OTHER_PROJECT = "352711906418819099"

Json = dict[str, Any]


@cache
def rsa(number: int) -> RSAKey:
    """A key of its own for each number; made once, for it takes a while."""
    return RSAKey.generate_key(2048, {"kid": f"key-{number}", "use": "sig", "alg": "RS256"}, auto_kid=False)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that hung up is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Issuer:
    """Serves its public keys; counts who asks; can be made to answer with an error or to hang."""

    def __init__(self, tls: Tls) -> None:
        self.keys = [rsa(1)]
        self.asked: Counter[str] = Counter()
        self.status = 200
        self.go_on = threading.Event()
        self.go_on.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked[self.path] += 1
                issuer.go_on.wait(20)
                body = json.dumps(issuer.answer(self.path)).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.cert_file, tls.key_file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}"
        self.name = self.url
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def key_fetches(self) -> int:
        return self.asked["/oauth/v2/keys"]

    def answer(self, path: str) -> Json:
        if path == "/oauth/v2/keys":
            return {"keys": [key.as_dict(private=False) for key in self.keys]}
        return {"issuer": self.name, "jwks_uri": f"{self.url}/oauth/v2/keys"}

    def claims(self, subject: str, /, **changes: object) -> Json:
        """What a good token says; `changes` replace claims, and None takes one away."""
        now = int(time.time())
        claims: Json = {
            "iss": self.url,
            "sub": subject,
            "aud": [PROJECT],
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            roles_claim(PROJECT): {"device": {"351": "fleet.localhost"}},
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, subject: str, /, signer: RSAKey | None = None, **changes: object) -> str:
        """A token of `subject`, signed by `signer` or the issuer's first key."""
        key = signer or self.keys[0]
        return jwt.encode({"alg": "RS256", "kid": key.kid}, self.claims(subject, **changes), key, ["RS256"])

    def unsigned(self, subject: str) -> str:
        """`alg: none`."""
        return f"{_part({'alg': 'none', 'typ': 'JWT', 'kid': self.keys[0].kid})}.{_part(self.claims(subject))}."

    def signed_with_the_public_key(self, subject: str) -> str:
        """HS256 with the public key as the secret: what a verifier that trusts `alg` accepts."""
        key = self.keys[0]
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}.{_part(self.claims(subject))}"
        signature = hmac.new(key.as_pem(private=False), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def roles_claim(project: str) -> str:
    return f"urn:zitadel:iam:org:project:{project}:roles"


def _part(value: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
