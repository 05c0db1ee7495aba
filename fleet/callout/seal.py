"""Sealed requests and answers: NaCl boxes between the NATS server's curve key and ours."""

from __future__ import annotations

from collections import OrderedDict

from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from fleet.contract.errors import InvalidInput
from fleet.nats.keys import Role, decode_public

XKEY_HEADER = "Nats-Server-Xkey"
"""The request header with the server's public curve key."""
_MAGIC = b"xkv1"
_MAX_SERVERS = 64


class ClearRequest(InvalidInput):
    """A request in clear although a key is set: it may get only an unsigned refusal."""


class Envelope:
    """Opens requests and seals answers. Without a key, it passes everything on in clear."""

    def __init__(self, *keys: PrivateKey) -> None:
        """Open with any of the keys: the public half of one is what a NATS server's `auth_callout.xkey` names."""
        self._keys = keys
        self._boxes: OrderedDict[str, tuple[Box, ...]] = OrderedDict()
        self._opened_with: dict[str, Box] = {}

    def open(self, data: bytes, server_xkey: str) -> bytes:
        """The request inside.

        Raises:
            ClearRequest: it is in clear, and a key is set.
            InvalidInput: it does not open.
        """
        if not self._keys:
            return data
        if not server_xkey or not data.startswith(_MAGIC):
            raise ClearRequest("a request in clear, though a key is set", next_step="give the NATS server the xkey")
        for box in self._boxes_of(server_xkey):
            try:
                opened = box.decrypt(data[len(_MAGIC) :])
            except (CryptoError, ValueError):
                continue
            self._opened_with[server_xkey] = box
            return opened
        raise InvalidInput("a sealed request that no key of ours opens", next_step="compare the xkeys")

    def seal(self, answer: bytes, server_xkey: str) -> bytes:
        """The answer for the asking server, sealed by the key that opened its request; never in clear with a key."""
        if not self._keys:
            return answer
        box = self._opened_with.get(server_xkey) or self._boxes_of(server_xkey)[0]
        return _MAGIC + box.encrypt(answer)

    def _boxes_of(self, server_xkey: str) -> tuple[Box, ...]:
        """The shared secrets with one server, computed once: each costs as much as a signature."""
        if server_xkey not in self._boxes:
            server_key = PublicKey(decode_public(server_xkey, Role.CURVE))
            self._boxes[server_xkey] = tuple(Box(key, server_key) for key in self._keys)
            if len(self._boxes) > _MAX_SERVERS:
                gone, _ = self._boxes.popitem(last=False)
                self._opened_with.pop(gone, None)
        return self._boxes[server_xkey]
