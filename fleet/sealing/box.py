"""The seal: HPKE in its base mode (RFC 9180), bound to the device and the deployment that it is for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fleet.contract.errors import InvalidInput
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import Contents

KEY_SIZE = 32
"""Bytes of either half of a key (RFC 7748)."""
OVERHEAD = 48
"""Bytes that a seal adds: an encapsulated key, and a tag (RFC 9180, sections 7.1 and 7.3)."""
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_PURPOSE = b"fleet sealed secrets 1"
_DIGEST = b"fleet secrets digest 1"


def new_key() -> bytes:
    """A private key; a secret."""
    return os.urandom(KEY_SIZE)


def public_half(private: bytes) -> str:
    """The public half of a private key, as `fleet.contract.sealed.SealingKey` has it."""
    return base64.b64encode(X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()).decode()


def seal(contents: Contents, key: str, device: str, deployment: str) -> bytes:
    """Seal for the holder of the private half of `key`, and for this device and deployment alone.

    Raises:
        InvalidInput: the key is none: a device can say anything.
    """
    try:
        public = X25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        return _SUITE.encrypt(msgspec.json.encode(contents), public, _info(device, deployment))
    except ValueError as error:
        raise InvalidInput(
            f"the sealing key of {device} is no X25519 key: {error}", next_step="see what writes as this device"
        ) from error


def open_sealed(data: bytes, private: bytes, device: str, deployment: str) -> Contents:
    """Open what `seal` made.

    Raises:
        InvalidInput: it was sealed for another key, device or deployment, or changed, or holds what is unknown.
    """
    try:
        opened = _SUITE.decrypt(data, X25519PrivateKey.from_private_bytes(private), _info(device, deployment))
        return msgspec.json.decode(opened, type=Contents)
    except (InvalidTag, *NOT_JSON) as error:
        # What the error says of the contents may quote them.
        foreign = isinstance(error, InvalidTag)
        cause = "it was sealed for another one, or changed" if foreign else "it holds what is unknown here"
        raise InvalidInput(
            f"what is sealed for {deployment} does not open with the key of this device: {cause}",
            next_step="restart the agent: the operator seals again for the key that it reports",
        ) from None


def digest(contents: Contents, private: bytes) -> str:
    """What changes when a container is to be made anew: 32 hex digits, which tell nothing without the key."""
    shown = msgspec.json.encode(msgspec.structs.replace(contents, login=None), order="deterministic")
    key = hmac.digest(private, _DIGEST, hashlib.sha256)
    return hmac.new(key, shown, hashlib.sha256).hexdigest()[:32]


def _info(device: str, deployment: str) -> bytes:
    return b"\0".join((_PURPOSE, device.encode(), deployment.encode()))
