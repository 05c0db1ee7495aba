"""What travels while a release key is followed by another one: lists of trusted keys, signed by a key before."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleet.contract.limits import Count, Id, Message

RELEASE_KEY = "release_key"
"""What the key that signs agents is called among the secrets."""
MAX_LIST = 32 * 1024
"""Characters of a list: some 200 keys."""
MAX_LISTS = 16
"""Lists that are kept for devices that are behind: together, half of what nats-server takes in a message."""


class SignedKeys(msgspec.Struct, frozen=True, rename="camel", tag="signed-keys"):
    """A list of release keys (`TrustedKeys`) as it travels.

    `payload` is the very JSON text that was signed, and that a device writes to its disk: its `type` says that it is a
    list, and no manifest. `signature` is the Ed25519 signature (RFC 8032) of its UTF-8 bytes by the key `key_id` of the
    list before, in base64.
    """

    payload: Annotated[str, msgspec.Meta(max_length=MAX_LIST)]
    key_id: Id
    signature: Id


class OfferedKeys(msgspec.Struct, frozen=True, rename="camel", tag="offered-keys"):
    """`release-keys` `server`: the lists that a device may have missed, in the order of their numbers.

    `fleet secrets rotate` writes them. NATS can change them, but a device takes only a list that is signed by a key
    that it trusts already.
    """

    lists: Annotated[tuple[SignedKeys, ...], msgspec.Meta(max_length=MAX_LISTS)]


class HeldKeys(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Which list of release keys a device has on its disk: its number, and the digest of its text.

    Without a `digest` it trusts no key, so it takes neither agents nor lists. `refused` says why it did not take a list
    with a higher number.
    """

    number: Count = 0
    digest: Id = ""
    refused: Message = ""
