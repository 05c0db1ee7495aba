"""NATS keys: what an install makes and the callout uses.

The text form is that of the `nkeys` libraries: base32 without padding of a prefix that tells the role, 32 bytes of key
and a CRC-16 (XModem, little endian). Written here because the Python library knows no curve keys, which the sealed
auth callout needs.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from enum import IntEnum

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from fleet.contract.errors import InvalidInput

_SEED = 18 << 3


class Role(IntEnum):
    """Whose key it is; each encodes to a letter: A, U, N and X."""

    ACCOUNT = 0
    USER = 20 << 3
    SERVER = 13 << 3
    CURVE = 23 << 3


def new_seed(role: Role) -> str:
    """A fresh private key as a seed: `SA...` for an account, `SX...` for a curve key. A secret."""
    head = bytes([_SEED | role >> 5, (role & 31) << 3])
    return _text(head + secrets.token_bytes(32))


def public_key(seed: str) -> str:
    """The public key of a seed, such as `A...` or `X...`.

    Raises:
        InvalidInput: not a seed, or one with a typing error.
    """
    role, raw = _parse_seed(seed)
    public = bytes(PrivateKey(raw).public_key) if role is Role.CURVE else bytes(SigningKey(raw).verify_key)
    return encode_public(role, public)


def encode_public(role: Role, raw: bytes) -> str:
    """The text form of 32 bytes of public key."""
    return _text(bytes([role]) + raw)


def decode_public(text: str, role: Role) -> bytes:
    """The 32 bytes of a public key of the given role.

    Raises:
        InvalidInput: another role, or not a key at all.
    """
    raw = _bytes(text)
    if len(raw) != 33 or raw[0] != role:
        raise InvalidInput(f"not a NATS {role.name.lower()} public key", next_step="check where the key came from")
    return raw[1:]


def signing_key(seed: str) -> SigningKey:
    """The Ed25519 key of an account's or user's seed.

    Raises:
        InvalidInput: not such a seed.
    """
    role, raw = _parse_seed(seed)
    if role is Role.CURVE:
        raise InvalidInput("a curve seed cannot sign", next_step="use the seed of an account (SA...)")
    return SigningKey(raw)


def curve_key(seed: str) -> PrivateKey:
    """The X25519 key of a curve seed.

    Raises:
        InvalidInput: not such a seed.
    """
    role, raw = _parse_seed(seed)
    if role is not Role.CURVE:
        raise InvalidInput("not the seed of a curve key", next_step="use a seed that begins with SX")
    return PrivateKey(raw)


def _parse_seed(seed: str) -> tuple[Role, bytes]:
    raw = _bytes(seed)
    role = (raw[0] & 7) << 5 | raw[1] >> 3 if len(raw) == 34 else -1
    if raw[:1] == b"" or raw[0] & 248 != _SEED or role not in set(Role):
        raise InvalidInput("not the seed of a NATS key", next_step="seeds begin with SA, SU, SN or SX")
    return Role(role), raw[2:]


def _text(raw: bytes) -> str:
    checksum = binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(raw + checksum).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        decoded = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("not a NATS key: no base32", next_step="check where the key came from") from error
    raw, checksum = decoded[:-2], decoded[-2:]
    if binascii.crc_hqx(raw, 0).to_bytes(2, "little") != checksum:
        raise InvalidInput("not a NATS key: wrong checksum", next_step="was it copied completely?")
    return raw
