"""Sealed requests and answers: NaCl boxes between the NATS server's curve key and ours."""

from __future__ import annotations

from collections import OrderedDict

from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from fleet.contract.errors import InvalidInput
from fleet.nkey import Role, decode_public

XKEY_HEADER = "Nats-Server-Xkey"
"""The request header with the server's public curve key."""
_MAGIC = b"xkv1"
_MAX_SERVERS = 64


class ClearRequest(InvalidInput):
    """A request in clear, though a key is set: not to be answered with anything but a bare refusal."""


class Envelope:
    """Opens requests and seals answers. With no key of its own, passes everything on in clear."""

    def __init__(self, key: PrivateKey | None) -> None:
        """Open with `key`, whose public half the NATS server's `auth_callout.xkey` names."""
        self._key = key
        self._boxes: OrderedDict[str, Box] = OrderedDict()

    def open(self, data: bytes, server_xkey: str) -> bytes:
        """The request inside.

        Raises:
            ClearRequest: it is in clear, and a key is set.
            InvalidInput: it does not open.
        """
        if self._key is None:
            return data
        if not server_xkey or not data.startswith(_MAGIC):
            raise ClearRequest("a request in clear, though a key is set", next_step="give the NATS server the xkey")
        try:
            return self._box(server_xkey).decrypt(data[len(_MAGIC) :])
        except (CryptoError, ValueError) as error:
            raise InvalidInput("a sealed request that our key does not open", next_step="compare the xkeys") from error

    def seal(self, answer: bytes, server_xkey: str) -> bytes:
        """The answer for the server that asked; never in clear when a key is set."""
        return answer if self._key is None else _MAGIC + self._box(server_xkey).encrypt(answer)

    def _box(self, server_xkey: str) -> Box:
        """The shared secret with one server, worked out once: it costs as much as a signature."""
        assert self._key
        if server_xkey not in self._boxes:
            self._boxes[server_xkey] = Box(self._key, PublicKey(decode_public(server_xkey, Role.CURVE)))
            if len(self._boxes) > _MAX_SERVERS:
                self._boxes.popitem(last=False)
        return self._boxes[server_xkey]
