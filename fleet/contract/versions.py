"""How the parts of a server name the versions of a secret that they have, which a rotation goes by; no value."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Annotated

import msgspec

from fleet.contract.limits import CertificateIds

CALLOUT_KEYS_SUBJECT = "fleet.callout.keys"
"""Where every callout answers with its `CalloutKeys`, in the CONTROL account."""
ISSUER_TAG, XKEY_TAG, USER_TAG, TLS_TAG = "issuer:", "xkey:", "user:", "tls:"
AUTHORITY_TAG, ROUTE_TAG, ROUTES_SENT_TAG = "authority:", "route:", "route-sent:"
"""What the tags of a NATS server begin with: the public keys of its callout, the static users that it lets in, the
digest of the key that it shows its certificate for, the id of the authority's certificate that signed that, and the
digests of the passwords by which it lets other servers in, and of the one that it comes in by there itself.

nats-server writes tags in lower case.
"""

_PAGE = f"web page {TLS_TAG}"
_SLOT_BYTES = 4
_PASSWORD_BYTES = 32
_Key = Annotated[str, msgspec.Meta(max_length=128)]


class CalloutKeys(msgspec.Struct, frozen=True):
    """Which public keys a callout can answer for, and open questions with; the ids of the certificates it trusts.

    `unready` is why it cannot decide on logins now, empty if it can. A callout of a former release only answers
    while it can.
    """

    instance: Annotated[str, msgspec.Meta(max_length=253)]
    issuers: Annotated[tuple[_Key, ...], msgspec.Meta(max_length=8)]
    xkeys: Annotated[tuple[_Key, ...], msgspec.Meta(max_length=8)]
    trusts: CertificateIds = ()
    unready: Annotated[str, msgspec.Meta(max_length=200)] = ""


def deciding(answers: Iterable[CalloutKeys]) -> int:
    """How many of the callouts that answered decide on logins now."""
    return sum(not one.unready for one in answers)


def digest_of(value: bytes) -> str:
    """Names a version of a secret that has no other name: of 128 random bits and more, it tells nothing."""
    return f"sha256:{hashlib.sha256(value).hexdigest()[:16]}"


def page_name(key: bytes) -> str:
    """The name of the web page's connection to NATS, which tells the key of the certificate that it shows."""
    return f"{_PAGE}{digest_of(key)}"


def key_of_page(name: str) -> str:
    """The digest in the name of a connection that is the web page's, or empty."""
    return name.removeprefix(_PAGE) if name.startswith(_PAGE) else ""


def user_of(role: str, password: str) -> str:
    """The name of the static user that a password belongs to.

    Two passwords of one role are two users of NATS, so one that a rotation made begins with the name of its user.
    """
    slot, dot, _ = password.partition(".")
    return f"{role}-{slot}" if dot else role


def rotated_password() -> str:
    """A password for another user of the same role; a secret."""
    return f"{secrets.token_hex(_SLOT_BYTES)}.{secrets.token_urlsafe(_PASSWORD_BYTES)}"
