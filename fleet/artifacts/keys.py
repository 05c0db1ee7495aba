"""Release keys: Ed25519 (RFC 8032), the private one a file of its owner's, the public ones listed on every device."""

from __future__ import annotations

import base64
import binascii
import hashlib
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleet.contract.config import read_whole
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.upgrade import TrustedKey

_SEED = 32
"""Bytes of an Ed25519 private key, and of a public one."""
_ID = 16
"""Hexadecimal digits of a key's name."""


class ReleaseKey:
    """A private release key; a secret."""

    def __init__(self, seed: bytes) -> None:
        """Hold the key of `seed`, 32 bytes."""
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def new(cls) -> ReleaseKey:
        """A fresh key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def load(cls, path: Path) -> ReleaseKey:
        """Read a key's file: base64 of its seed, mode 0600.

        Raises:
            NotFound: there is no such file.
            InvalidInput: others can read it, or it holds no key.
        """
        try:
            text, status = read_whole(path)
        except OSError as error:
            raise NotFound(
                f"cannot read the release key {path}: {error.strerror}",
                next_step="make one with `fleet agent new-key --out FILE`",
            ) from error
        if (mode := stat.S_IMODE(status.st_mode)) & 0o077:
            raise InvalidInput(f"{path} has mode {mode:04o}, but holds a secret", next_step=f"chmod 600 {path}")
        seed = _decoded(text.decode(errors="replace").strip())
        if seed is None:
            raise InvalidInput(
                f"{path} holds no release key", next_step="give the file that `fleet agent new-key` wrote"
            )
        return cls(seed)

    def render(self) -> bytes:
        """The file's content; a secret."""
        return base64.b64encode(self._seed) + b"\n"

    def sign(self, data: bytes) -> str:
        """The signature of `data`, in base64."""
        return base64.b64encode(self._key.sign(data)).decode()

    @property
    def public(self) -> TrustedKey:
        """What devices need in order to trust it."""
        public = self._key.public_key().public_bytes_raw()
        return TrustedKey(hashlib.sha256(public).hexdigest()[:_ID], base64.b64encode(public).decode())

    def __repr__(self) -> str:
        return f"ReleaseKey({self.public.id})"


def good_signature(key: TrustedKey, data: bytes, signature: str) -> bool:
    """Whether `signature` (base64) is of `data`, by `key`.

    Raises:
        InvalidInput: what is listed is no Ed25519 key.
    """
    public = _decoded(key.key)
    if public is None:
        raise InvalidInput(
            f"the trusted key {key.id} is no Ed25519 public key", next_step="list what `fleet agent new-key` showed"
        )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature, validate=True), data)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def is_public_key(key: TrustedKey) -> bool:
    """Whether what is listed has the form of an Ed25519 public key."""
    return _decoded(key.key) is not None


def _decoded(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == _SEED else None
