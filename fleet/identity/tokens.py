"""A device's access token: a machine key becomes a token by the JWT profile (RFC 7523, section 2.1)."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from fleet.contract.config import FleetDeviceAuth, MachineKey
from fleet.contract.errors import FleetError, InvalidInput, NotPermitted
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.identity import issuer as idp
from fleet.identity.access_token import AccessToken
from fleet.process.http import http_client

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_HALF_LIFE = 30 * 60
"""Seconds that an assertion holds either side of now: Zitadel takes none older than an hour, nor one of the future."""


def granted(answer: bytes, asked_at: float, issuer: str) -> AccessToken:
    """The token in a token endpoint's 200 answer to what was asked at `asked_at` (monotonic).

    Raises:
        InvalidInput: it is not such an answer.
    """
    try:
        found = msgspec.json.decode(answer, type=_Granted)
    except NOT_JSON as error:
        raise InvalidInput(
            f"{issuer} answered 200 without a token", next_step="is that Zitadel's address, or a proxy's page?"
        ) from error
    return AccessToken(found.access_token, asked_at + found.expires_in, found.expires_in)


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float


async def fetch_token(
    auth: FleetDeviceAuth, *, within: float = 10, clock: Callable[[], float] = time.time
) -> AccessToken:
    """Get an access token with the project's audience and roles.

    Args:
        auth: Who asks whom.
        within: Seconds for everything together.
        clock: This machine's clock, Unix seconds.

    Raises:
        Unreachable: no answer, or one that only says that the server is ill.
        InvalidInput: the issuer, the CA or the key is not what it should be.
        NotPermitted: the issuer refused the key; or the clock is so far off that it would.
    """
    issuer = idp.parse_issuer(auth.issuer)
    key = _private_key(auth.machine_key)
    try:
        async with (
            asyncio.timeout(within),
            http_client(idp.trust(auth.ca), within) as http,
        ):
            metadata = await http.get(f"{issuer}{idp.DISCOVERY_PATH}")
            found = idp.discovered(issuer, metadata)
            idp.check_clock(issuer, metadata, clock())
            _check_expiry(auth.machine_key, idp.server_time(metadata) or clock())
            asked_at = time.monotonic()
            form = {"grant_type": GRANT, "assertion": _assertion(auth, key, clock()), "scope": scopes(auth.project)}
            answer = await http.post(found.token_endpoint, data=form)
    except (httpx.HTTPError, TimeoutError) as error:
        raise idp.unreachable(issuer, error, clock()) from error
    if answer.status_code == 200:
        return msgspec.structs.replace(
            granted(answer.content, asked_at, issuer),
            clock_ahead=idp.ahead(answer, clock()),
            key_id=auth.machine_key.key_id,
        )
    raise _refused(auth, answer, idp.ahead(answer, clock()))


def scopes(project: str) -> str:
    """What puts the project into a token's audience and the user's roles into its claims."""
    return f"openid urn:zitadel:iam:org:project:id:{project}:aud urn:zitadel:iam:org:projects:roles"


def _assertion(auth: FleetDeviceAuth, key: RSAKey, now: float) -> str:
    who = auth.machine_key
    claims: dict[str, Any] = {
        "iss": who.user_id,
        "sub": who.user_id,
        "aud": auth.issuer,
        "iat": int(now) - _HALF_LIFE,
        "exp": int(now) + _HALF_LIFE,
    }
    return jwt.encode({"alg": "RS256", "kid": who.key_id}, claims, key, algorithms=["RS256"])


@functools.lru_cache(maxsize=1)
def _private_key(machine_key: MachineKey) -> RSAKey:
    # Kept: a key is parsed when its file is read and again when it signs, and each time OpenSSL checks its primes.
    try:
        key = RSAKey.import_key(machine_key.key)
    except (JoseError, ValueError, TypeError) as error:
        raise _bad_key(f"the private key of machine key {machine_key.key_id} is truncated or damaged") from error
    if not key.is_private:
        raise _bad_key(f"machine key {machine_key.key_id} holds a public key")
    return key


def _check_expiry(key: MachineKey, now: float) -> None:
    expires = _expiry(key)
    if expires.timestamp() <= now:
        raise NotPermitted(
            f"machine key {key.key_id} of user {key.user_id} expired on {expires:%Y-%m-%d}",
            next_step="enroll the device again: fleet device enroll --replace",
        )


def _expiry(key: MachineKey) -> datetime:
    try:
        return datetime.fromisoformat(key.expiration_date).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _bad_key(f"machine key {key.key_id} expires at {key.expiration_date!r}, which is no time") from error


def _bad_key(what: str) -> InvalidInput:
    return InvalidInput(what, next_step="create a new key for the machine user, or enroll the device again")


_UNUSABLE = {"server_error", "invalid_client", "invalid_grant", "invalid_request"}
"""What the versions of Zitadel answer to one and the same bad assertion; see the identity reference."""


def _refused(auth: FleetDeviceAuth, answer: httpx.Response, clock_ahead: float) -> FleetError:
    found = idp.refusal(answer)
    if found is None:
        return idp.ill(auth.issuer, answer)
    who = auth.machine_key
    message = f"{answer.status_code} {found.error}: {found.error_description}".rstrip(": ")
    if "NotActive" in found.error_description:
        return NotPermitted(
            f"user {who.user_id} is deactivated or locked at {auth.issuer} ({message})",
            next_step="reactivate the user in Zitadel, or enroll the device again",
        )
    if found.error not in _UNUSABLE:
        return NotPermitted(f"{auth.issuer} gives no token ({message})", next_step="see Zitadel's log")
    doubt = "; Zitadel itself may be ill: see its log" if answer.status_code >= 500 else ""
    return NotPermitted(
        f"{auth.issuer} refused machine key {who.key_id} of user {who.user_id} ({message}): "
        f"it was removed, has expired, or is of another instance{_clock(clock_ahead)}",
        next_step=f"enroll the device again: fleet device enroll --replace{doubt}{idp.other_instance(auth.issuer)}",
    )


def _clock(ahead: float) -> str:
    return f"; this machine's clock is {idp.difference(ahead)} the issuer's" if abs(ahead) > 1 else ""


def parse_machine_key_file(data: bytes) -> MachineKey:
    """Parse the file that Zitadel gives out for a machine user's key.

    Raises:
        InvalidInput: truncated, not JSON, of another kind, or without a usable private key.
    """
    try:
        key = msgspec.json.decode(data, type=MachineKey)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise _bad_key(f"not a machine key file: {validation_words(error)}") from error
    except NOT_JSON as error:
        why = validation_words(error)
        raise _bad_key(f"the machine key file is truncated or not JSON ({len(data)} bytes: {why})") from error
    if key.type != "serviceaccount":
        raise _bad_key(f"the key file is of type {key.type!r}, not 'serviceaccount': it is not a machine user's")
    if not key.user_id or not key.key_id:
        raise _bad_key("the machine key file names no user or no key")
    _private_key(key)
    _expiry(key)
    return key
