"""Which logins are accepted: a pure decision. The token identifies the device, and the registry must allow it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from fleet.contract.config import DEVICE_ROLE
from fleet.contract.names import DeviceId
from fleet.contract.wire import Identity, IdentityState

CLOCK_LEEWAY = 60.0
"""Seconds that the issuer's clock may be ahead of ours."""


class Reason(Enum):
    """The reason of a decision, as logs, metrics and the NATS server's log have it."""

    ALLOWED = "allowed"
    NO_TOKEN = "no_token"  # noqa: S105 - a word, no password
    TOKEN_TOO_LONG = "token_too_long"  # noqa: S105 - a word, no password
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105 - a word, no password
    ALGORITHM_REFUSED = "algorithm_refused"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ROLE_MISSING = "role_missing"
    NOT_ENROLLED = "not_enrolled"
    REVOKED = "revoked"
    QUARANTINED = "quarantined"
    ISSUED_BEFORE_ROTATION = "issued_before_rotation"
    KEYS_UNAVAILABLE = "keys_unavailable"
    REGISTRY_UNAVAILABLE = "registry_unavailable"
    OVERLOADED = "overloaded"
    UNDECODABLE_REQUEST = "undecodable_request"
    CLEAR_REQUEST = "clear_request"
    UNKNOWN_SIGNER = "unknown_signer"
    INTERNAL_ERROR = "internal_error"


class Claims(msgspec.Struct, frozen=True):
    """The claims of a token with a valid signature. Times are Unix seconds; `roles` are those of our project.

    `nonce` is what an ID token answers, and empty in others.
    """

    issuer: str
    subject: str
    audience: tuple[str, ...]
    expires: float
    not_before: float
    issued: float
    roles: frozenset[str]
    nonce: str = ""


class Allow(msgspec.Struct, frozen=True):
    """Accept the client as `device`, until `expires` (Unix seconds)."""

    device: DeviceId
    expires: float


class Deny(msgspec.Struct, frozen=True):
    """Refuse the client; `why` has details for the log, if there are any."""

    reason: Reason
    why: str = ""


def decide(claims: Claims, registry: Mapping[str, Identity], *, issuer: str, project: str, now: float) -> Allow | Deny:
    """The decision on a token with a valid signature, at Unix time `now`."""
    refused = _refused(claims, issuer, project, now)
    if refused:
        return Deny(refused, _clock(claims, now) if refused is Reason.NOT_YET_VALID else "")
    identity = registry.get(claims.subject)
    if identity is None:
        return Deny(Reason.NOT_ENROLLED)
    if not identity.admitted(now):
        return Deny(Reason.QUARANTINED if identity.state is IdentityState.QUARANTINED else Reason.REVOKED)
    # Both are of the issuer's clock, so there is no leeway; it counts whole seconds, and the same one may be too early.
    if identity.tokens_after and int(claims.issued) <= identity.tokens_after:
        return Deny(Reason.ISSUED_BEFORE_ROTATION, _before(claims, identity))
    return Allow(identity.device, claims.expires)


def _before(claims: Claims, identity: Identity) -> str:
    earlier = identity.tokens_after - int(claims.issued)
    return f"the token is {earlier} s older than the device's machine key; the device asks for another one by itself"


def _clock(claims: Claims, now: float) -> str:
    ahead = max(claims.not_before, claims.issued) - now
    return f"the issuer's clock is {ahead:.0f} s ahead of this machine's, {CLOCK_LEEWAY:.0f} s are accepted"


def _refused(claims: Claims, issuer: str, project: str, now: float) -> Reason | None:
    if claims.issuer != issuer:
        return Reason.WRONG_ISSUER
    # A machine user can put any project into its audience (zitadel#9515): the role claim below is what counts.
    if project not in claims.audience:
        return Reason.WRONG_AUDIENCE
    if claims.expires <= now:
        return Reason.EXPIRED
    if max(claims.not_before, claims.issued) > now + CLOCK_LEEWAY:
        return Reason.NOT_YET_VALID
    if DEVICE_ROLE not in claims.roles:
        return Reason.ROLE_MISSING
    return None
