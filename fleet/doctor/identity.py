"""The identity provider as devices and the callout use it: discovery, keys, and its clock compared with ours."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import TypeVar

import httpx
import msgspec

from fleet.contract.errors import InvalidInput, Unreachable
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.identity.issuer import check_clock, discovered, ill, trust, unreachable
from fleet.process.deadline import in_time

_DISCOVERY = "/.well-known/openid-configuration"
_WITHIN, _WHOLE = 10.0, 20.0
"""Seconds for each step of a request, and for all of it."""
T = TypeVar("T")


class _Metadata(msgspec.Struct):
    jwks_uri: str = ""


class _Keys(msgspec.Struct):
    keys: list[dict[str, object]]


def check_discovery(issuer: str, ca: str) -> str:
    """Check the provider's discovery document and its clock.

    Raises:
        FleetError: it does not answer, is not trusted, has another name, or its clock differs too much from ours.
    """
    answer = _got(issuer, ca, f"{issuer}{_DISCOVERY}")
    discovered(issuer, answer)
    check_clock(issuer, answer, time.time())
    return f"{issuer} answers, and its clock is ours"


def check_keys(issuer: str, ca: str) -> str:
    """Check the keys that verify tokens.

    Raises:
        FleetError: there are none, or they cannot be read.
    """
    answer = _got(issuer, ca, f"{issuer}{_DISCOVERY}")
    where = _parsed(answer, _Metadata, lambda: f"{issuer} describes itself in no JSON").jwks_uri
    if not where.startswith("https://"):
        raise InvalidInput(
            f"{issuer} gives no address of its keys (jwks_uri {where!r})", next_step="see the provider's configuration"
        )
    keys = _parsed(_got(issuer, ca, where), _Keys, lambda: f"{where} holds no keys").keys
    if not keys:
        raise InvalidInput(f"{where} holds no key: no token can be verified", next_step="see the provider's keys")
    return f"{len(keys)} keys at {where}"


def _got(issuer: str, ca: str, url: str) -> httpx.Response:
    context: ssl.SSLContext = trust(ca)
    try:
        answer = in_time(_WHOLE, lambda: httpx.get(url, verify=context, timeout=_WITHIN))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise unreachable(issuer, error, time.time()) from error
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise ill(issuer, answer)
    return answer


def _parsed(answer: httpx.Response, kind: type[T], says: Callable[[], str]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except NOT_JSON as error:
        why = validation_words(error)
        raise Unreachable(f"{says()}: {why}", next_step="is that the provider, or a proxy before it?") from error
