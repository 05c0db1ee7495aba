"""The assertion of the JWT profile, checked in Zitadel's order and refused in the manner of the version played."""

from __future__ import annotations

import time
from typing import Any

from harness.doubles.zitadel import crypto
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import OAuthError
from harness.doubles.zitadel.modes import TokenErrors
from harness.doubles.zitadel.records import ACTIVE, User

_LEEWAY = 1
_MAX_AGE = 3600
"""Seconds."""


def user_of(call: Call, assertion: str) -> User:
    """The user who signed `assertion`.

    Raises:
        OAuthError: the assertion is bad, or its user is not active.
    """
    parsed = crypto.parse_jwt(assertion)
    if parsed is None:
        raise _refused(call, "invalid_grant", "not a JWT")
    header, claims = parsed
    wrong = _wrong_claims(call, claims)
    if wrong:
        raise _refused(call, "invalid_grant", wrong)
    user = call.instance.users.get(str(claims.get("iss")))
    key = user.keys.get(str(header.get("kid"))) if user else None
    # The key's own expiry is by the clock that tokens are judged by.
    if user is None or key is None or key.expires <= call.now or not call.visible(key.visible):
        raise _refused(call, "invalid_client", "no such key")
    if not crypto.signed_by(assertion, key.public):
        raise _refused(call, "invalid_client", "signature invalid")
    if user.state != ACTIVE:
        raise OAuthError("invalid_request", "Errors.User.NotActive")
    return user


def _wrong_claims(call: Call, claims: dict[str, Any]) -> str:
    audience = claims.get("aud")
    if call.issuer not in (audience if isinstance(audience, list) else [audience]):
        return "audience is not valid"
    if _seconds(claims.get("exp")) <= call.now + _LEEWAY:
        return "assertion has expired"
    issued = _seconds(claims.get("iat"))
    if issued > call.now + _LEEWAY:
        return "issuedAt of assertion is in the future"
    if issued < call.now - _MAX_AGE:
        return "issuedAt of assertion is too old"
    return "" if claims.get("iss") == claims.get("sub") else "issuer and subject differ"


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < time.time() * 1000 else 0.0


def _refused(call: Call, error: str, why: str) -> OAuthError:
    call.request.state.why = why
    if call.modes.token_errors is TokenErrors.V4_10:
        return OAuthError("server_error", "Errors.Internal", 500)
    if call.modes.token_errors is TokenErrors.LIBRARY:
        return OAuthError("invalid_request", "assertion invalid")
    return OAuthError(error, why)
