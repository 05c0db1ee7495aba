"""NATS JWTs (Ed25519 over nkeys): the server's request to parse, the answer and the user to sign.

The shapes were measured against nats-server; the example in its ADR-26 is outdated.
"""

from __future__ import annotations

import base64
import os
import time
from typing import Any

import msgspec
import nkeys
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from fleet.callout.decide import Allow, Reason
from fleet.contract.buckets import APP_ACCOUNT
from fleet.contract.errors import InvalidInput
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.contract.permissions import device_permissions
from fleet.nats.keys import Role, decode_public, public_text

Json = dict[str, Any]

_ALGORITHM = "ed25519-nkey"
_AUDIENCE = "nats-authorization-request"
_VERSION = 2
_NO_LIMIT = -1


class _ServerId(msgspec.Struct, frozen=True):
    id: str
    name: str = ""


class _ClientInfo(msgspec.Struct, frozen=True):
    host: str = ""
    name: str = ""


class _ConnectOptions(msgspec.Struct, frozen=True):
    auth_token: str = ""


class _Question(msgspec.Struct, frozen=True):
    server_id: _ServerId
    user_nkey: str
    client_info: _ClientInfo = _ClientInfo()
    connect_opts: _ConnectOptions = _ConnectOptions()


class _Request(msgspec.Struct, frozen=True):
    iss: str
    aud: str
    nats: _Question
    sub: str = ""


class _Header(msgspec.Struct, frozen=True):
    alg: str


class AuthRequest(msgspec.Struct, frozen=True):
    """A nats-server's request about one client. `token` is a secret; `issuer` is the key that must sign the answer."""

    server_id: str
    server_name: str
    user_nkey: str
    client_name: str
    client_host: str
    token: str
    issuer: str = ""

    def __repr__(self) -> str:
        return f"AuthRequest(client={self.client_name!r} at {self.client_host!r})"


def parse_request(jwt: bytes) -> AuthRequest:
    """Parse a request, and verify that the server that it names has signed it.

    Raises:
        InvalidInput: not such a JWT, or its signature is wrong.
    """
    try:
        signed, _, signature = jwt.rpartition(b".")
        header, _, payload = signed.partition(b".")
        algorithm = msgspec.json.decode(_unbase64(header), type=_Header).alg
        request = msgspec.json.decode(_unbase64(payload), type=_Request)
        VerifyKey(decode_public(request.iss, Role.SERVER)).verify(signed, _unbase64(signature))
    except (*NOT_JSON, BadSignatureError) as error:
        why = validation_words(error)
        raise InvalidInput(f"not a NATS authorization request: {why}", next_step="who sent it?") from error
    asked = request.nats
    if algorithm != _ALGORITHM or request.aud != _AUDIENCE or request.iss != asked.server_id.id:
        raise InvalidInput("a NATS JWT, but no authorization request of its signer", next_step="who sent it?")
    decode_public(asked.user_nkey, Role.USER)
    return AuthRequest(
        server_id=asked.server_id.id,
        server_name=asked.server_id.name,
        user_nkey=asked.user_nkey,
        client_name=asked.client_info.name,
        client_host=asked.client_info.host,
        token=asked.connect_opts.auth_token,
        issuer=request.sub,
    )


class Signer:
    """Signs with the key that the NATS server's `auth_callout.issuer` names."""

    def __init__(self, key: nkeys.KeyPair) -> None:
        self._key = key
        self.issuer = public_text(key)

    def allow(self, request: AuthRequest, allowed: Allow) -> bytes:
        """The answer that accepts the client, with a device's permissions and no others."""
        permissions = device_permissions(allowed.device)
        user = self._sign(
            {
                "sub": request.user_nkey,
                "aud": APP_ACCOUNT,
                # Becomes `authorized_user` in connection listings: what a revocation looks for.
                "name": str(allowed.device),
                "exp": int(allowed.expires),
                "nats": {
                    "type": "user",
                    "version": _VERSION,
                    "subs": _NO_LIMIT,
                    "data": _NO_LIMIT,
                    "payload": _NO_LIMIT,
                    "pub": {"allow": permissions.publish},
                    "sub": {"allow": permissions.subscribe},
                },
            }
        )
        return self._answer(request, {"jwt": user.decode()})

    def deny(self, request: AuthRequest, reason: Reason) -> bytes:
        """The answer that refuses the client; the reason reaches the server's log, never the client."""
        return self._answer(request, {"error": reason.value})

    def _answer(self, request: AuthRequest, outcome: Json) -> bytes:
        answer: Json = {"type": "authorization_response", "version": _VERSION, **outcome}
        return self._sign({"sub": request.user_nkey, "aud": request.server_id, "nats": answer})

    def _sign(self, claims: Json) -> bytes:
        full = {"iss": self.issuer, "iat": int(time.time()), "jti": os.urandom(12).hex(), **claims}
        signed = _HEADER + b"." + _base64(msgspec.json.encode(full))
        return signed + b"." + _base64(self._key.sign(signed))


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unbase64(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


_HEADER = _base64(msgspec.json.encode({"typ": "JWT", "alg": _ALGORITHM}))
