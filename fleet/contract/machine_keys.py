"""What travels while a device's machine key is renewed: the device makes the new one, and keeps its private half."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleet.contract.limits import MAX_PUBLIC_KEY, Count, Id
from fleet.contract.versions import digest_of

DEVICE_KEY = "device_key"
"""What the machine keys of devices are called among the secrets."""
NEXT_KEY_PATH = "/etc/fleet/next-key.json"
"""Where a device keeps a key that it has made and does not use yet."""
PublicKey = Annotated[str, msgspec.Meta(max_length=MAX_PUBLIC_KEY)]
"""The public half of an RSA key, PEM (RFC 7468, "PUBLIC KEY"); no secret."""


class KeyOrder(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="key-order"):
    """`key-order` `<device>`: make another machine key in place of `replaces`, written by `fleet secrets rotate`.

    The device offers a public half in its `DeviceInfo`. Once that is registered at the identity provider, `registered`
    is the new key's id there and `offer` names the public half (`offer_id`). Only a key that was made for this very
    offer counts. A device whose key is not `replaces` has nothing to do. After `withdrawn` it forgets what it offered.

    Tokens that the issuer gave until `tokens_after` (Unix seconds of its clock) let in no more: the device asks for
    another one.
    """

    replaces: Id
    registered: Id = ""
    offer: Id = ""
    withdrawn: bool = False
    tokens_after: Count = 0


def offer_id(public: str) -> str:
    """Names a public half."""
    return digest_of(public.strip().encode())
