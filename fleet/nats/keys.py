"""NATS keys: what an install makes and the callout uses.

The library `nkeys` makes and signs with Ed25519 keys. Written here is what it lacks: curve keys, which the sealed auth
callout needs; the way from a public key's text to its bytes; and a check of a seed's checksum.

The text form is base32 without padding of a prefix that tells the role, 32 bytes of key and a CRC-16 (XModem, little
endian): https://github.com/nats-io/nkeys.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from enum import IntEnum

import nkeys
from nacl.public import PrivateKey

from fleet.contract.errors import InvalidInput


class Role(IntEnum):
    """Whose key it is; each encodes to a letter: A, U, N and X."""

    ACCOUNT = nkeys.PREFIX_BYTE_ACCOUNT
    USER = nkeys.PREFIX_BYTE_USER
    SERVER = nkeys.PREFIX_BYTE_SERVER
    CURVE = 23 << 3


_CURVE_SEED = bytes([nkeys.PREFIX_BYTE_SEED | Role.CURVE >> 5, (Role.CURVE & 31) << 3])
"""How the bytes of a curve seed begin; as text, `SX`."""


def new_seed(role: Role) -> str:
    """A fresh private key as a seed: `SA...` for an account, `SX...` for a curve key. A secret."""
    raw = secrets.token_bytes(32)
    return _text(_CURVE_SEED + raw) if role is Role.CURVE else nkeys.encode_seed(raw, role).decode()


def public_key(seed: str) -> str:
    """The public key of a seed, such as `A...` or `X...`.

    Raises:
        InvalidInput: not a seed, or one with a typing error.
    """
    if seed.startswith("SX"):
        return _text(bytes([Role.CURVE]) + bytes(curve_key(seed).public_key))
    return public_text(key_pair(seed))


def decode_public(text: str, role: Role) -> bytes:
    """The 32 bytes of a public key of the given role.

    Raises:
        InvalidInput: another role, or not a key at all.
    """
    raw = _bytes(text)
    if len(raw) != 33 or raw[0] != role:
        raise InvalidInput(f"not a NATS {role.name.lower()} public key", next_step="check where the key came from")
    return raw[1:]


def key_pair(seed: str) -> nkeys.KeyPair:
    """The Ed25519 key pair of an account's, a user's or a server's seed.

    Raises:
        InvalidInput: not such a seed.
    """
    text = seed.encode()
    try:
        prefix, raw = nkeys.decode_seed(text)
        # The library does not look at the checksum.
        intact = nkeys.encode_seed(raw, Role(prefix)) == text
    except nkeys.ErrInvalidPrefixByte as error:
        raise InvalidInput("this key cannot sign", next_step="use the seed of an account (SA...)") from error
    except (nkeys.NkeysError, ValueError) as error:
        raise InvalidInput("not the seed of a NATS key", next_step="seeds begin with SA, SU, SN or SX") from error
    if not intact:
        raise InvalidInput("not the seed of a NATS key: wrong checksum", next_step="was it copied completely?")
    return nkeys.from_seed(text)


def public_text(key: nkeys.KeyPair) -> str:
    """The public key of a pair, such as `A...`."""
    return bytes(key.public_key).decode()


def curve_key(seed: str) -> PrivateKey:
    """The X25519 key of a curve seed.

    Raises:
        InvalidInput: not such a seed.
    """
    raw = _bytes(seed)
    if len(raw) != 34 or not raw.startswith(_CURVE_SEED):
        raise InvalidInput("not the seed of a curve key", next_step="use a seed that begins with SX")
    return PrivateKey(raw[2:])


def _text(raw: bytes) -> str:
    checksum = binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(raw + checksum).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        decoded = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("not a NATS key: no base32", next_step="check where the key came from") from error
    raw = decoded[:-2]
    # The whole text, not the checksum alone: the last letter has two bits that decoding ignores.
    if _text(raw) != text:
        raise InvalidInput("not a NATS key: wrong checksum", next_step="was it copied completely?")
    return raw
