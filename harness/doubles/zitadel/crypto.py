"""Keys, signatures and digests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from harness.doubles.zitadel.records import WebKey

Json = dict[str, Any]


def new_private_key() -> str:
    """A new RSA key as PKCS#1 PEM, the form of Zitadel's key files. Takes about 0.1 s of one core."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()


def public_of(private: str) -> str:
    """The public half of a PEM private key, as PEM."""
    key = serialization.load_pem_private_key(private.encode(), None)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def is_public_rsa(pem: str) -> bool:
    """Whether `pem` is a public RSA key."""
    try:
        return isinstance(serialization.load_pem_public_key(pem.encode()), rsa.RSAPublicKey)
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def _key(pem: str) -> RSAKey:
    return RSAKey.import_key(pem)


def jwk(key: WebKey) -> Json:
    """A web key as a member of the key set (RFC 7517)."""
    public = _key(key.private).as_dict(private=False)
    return {"use": "sig", "kty": "RSA", "kid": key.id, "alg": "RS256", "n": public["n"], "e": public["e"]}


def sign(claims: Json, key: WebKey) -> str:
    """A JWT of `claims`."""
    return jwt.encode({"alg": "RS256", "kid": key.id, "typ": "JWT"}, claims, _key(key.private))


def signed_by(token: str, pem: str) -> bool:
    """Whether the RS256 signature of a compact JWS is that of the key."""
    try:
        jws.deserialize_compact(token, _key(pem), algorithms=["RS256"])
    except (JoseError, ValueError):
        return False
    return True


def parse_jwt(token: str) -> tuple[Json, Json] | None:
    """Header and payload of a compact JWT, unverified; None if it is none."""
    if token.count(".") != 2:
        return None
    header, payload, _signature = token.split(".")
    try:
        return _decoded(header), _decoded(payload)
    except (ValueError, msgspec.DecodeError):
        return None


def _decoded(segment: str) -> Json:
    data = base64.urlsafe_b64decode(segment.encode("ascii") + b"=" * (-len(segment) % 4))
    return msgspec.json.decode(data, type=Json)


def digest(secret: str) -> str:
    """What is kept of a random secret."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def hash_password(password: str) -> str:
    """What is kept of a password: salt and scrypt."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}:{_scrypt(password, salt)}"


def password_matches(password: str, kept: str) -> bool:
    """Whether `password` is the one that was hashed; never for an account without one."""
    salt, _, hashed = kept.partition(":")
    return bool(hashed) and hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), hashed)


def _scrypt(password: str, salt: bytes) -> str:
    return hashlib.scrypt(password.encode(errors="surrogatepass"), salt=salt, n=2**12, r=8, p=1).hex()


def new_secret() -> str:
    """A random text of 54 characters."""
    return secrets.token_urlsafe(40)


def base64_text(data: bytes) -> str:
    """Standard base64, as protobuf's JSON has bytes."""
    return base64.b64encode(data).decode()
