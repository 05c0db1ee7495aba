"""The issuer's signing keys: found by discovery, and fetched seldom, once for many callers."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from fleet.callout.metrics import Metrics
from fleet.contract.errors import InvalidInput, Unreachable, why
from fleet.contract.parsing import NOT_JSON
from fleet.identity.proxies import check_proxies
from fleet.process.backoff import Backoff
from fleet.process.failures import in_words
from fleet.process.http import http_client
from fleet.process.tls import client_context

REFRESH = 300.0
"""Seconds between regular fetches: the `max-age` that Zitadel gives, after which a withdrawn key stops working."""
COOLDOWN = 10.0
"""Seconds after a fetch for an unknown key without another fetch: many unknown keys must not flood the issuer."""
_TIMEOUT = 5.0
_MAX_BYTES = 256 * 1024

log = structlog.get_logger()


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class Keys:
    """The keys by `kid`; keeps the last good ones while the issuer does not answer."""

    def __init__(self, issuer: str, ca: str, metrics: Metrics) -> None:
        """Prepare to ask `issuer`, whose certificate `ca` (PEM) signs."""
        self._issuer = issuer
        self._metrics = metrics
        self._tls = client_context(ca)
        self._keys: Mapping[str, RSAKey] = {}
        self._fetch: asyncio.Task[None] | None = None
        self._asked = -COOLDOWN
        self.loaded = asyncio.Event()
        self.changed: Callable[[], None] = lambda: None
        """Called when the set has changed, so tokens that a withdrawn key signed are verified again."""

    async def find(self, kid: str) -> RSAKey | None:
        """The key of that id. An unknown id fetches the set again; None if the issuer has no such key.

        Raises:
            Unreachable: it is unknown here, and the issuer did not answer.
        """
        if kid not in self._keys:
            await self._look_again()
        return self._keys.get(kid)

    async def keep_fresh(self) -> None:
        """Fetch now and then regularly, for ever."""
        backoff = Backoff(1, REFRESH / 10)
        while True:
            try:
                await self._shared_fetch()
                wait = REFRESH
                backoff.reset()
            except Exception as error:
                log.warning("keys not fetched", why=why(error))
                wait = backoff.next()
            await asyncio.sleep(wait)

    async def _look_again(self) -> None:
        if self._fetch is None and time.monotonic() < self._asked + COOLDOWN:
            return
        if self._fetch is None:
            self._asked = time.monotonic()
        await self._shared_fetch()

    async def _shared_fetch(self) -> None:
        """Join the running fetch, or start one; a caller that is cancelled does not end it for the others."""
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._fetch_keys())
            self._fetch.add_done_callback(self._fetched)
        await asyncio.shield(self._fetch)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetch = None
        failed = task.cancelled() or task.exception() is not None
        self._metrics.key_fetches.labels("failed" if failed else "ok").inc()

    async def _fetch_keys(self) -> None:
        try:
            async with http_client(self._tls, _TIMEOUT) as http:
                url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                document = msgspec.json.decode(await _get(http, url), type=_Discovery)
                self._check(document)
                answer = msgspec.json.decode(await _get(http, document.jwks_uri), type=_KeySet)
        except (httpx.HTTPError, httpx.InvalidURL, *NOT_JSON) as error:
            raise Unreachable(
                f"no keys from {self._issuer}: {in_words(error)}", next_step="check the issuer and its CA"
            ) from error
        keys = {str(key["kid"]): imported for key in answer.keys if "kid" in key and (imported := _usable(key))}
        if {kid: key.thumbprint() for kid, key in keys.items()} != self._thumbprints():
            self._keys = keys
            self.changed()
            log.info("keys loaded", kids=sorted(keys))
        if keys:
            self.loaded.set()

    def _thumbprints(self) -> dict[str, str]:
        return {kid: key.thumbprint() for kid, key in self._keys.items()}

    def _check(self, document: _Discovery) -> None:
        if document.issuer != self._issuer:
            raise Unreachable(
                f"the issuer at {self._issuer} calls itself {document.issuer}", next_step="configure the name it uses"
            )
        if self._issuer.startswith("https:") and not document.jwks_uri.startswith("https:"):
            raise Unreachable(f"{self._issuer} publishes its keys in clear", next_step="correct its external domain")


async def _get(http: httpx.AsyncClient, url: str) -> bytes:
    async with http.stream("GET", url) as response:
        response.raise_for_status()
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAX_BYTES:
                raise httpx.DecodingError(f"{url} answers more than {_MAX_BYTES} bytes")
        return bytes(body)


def _usable(key: dict[str, Any]) -> RSAKey | None:
    if key.get("kty") != "RSA" or key.get("use", "sig") != "sig" or key.get("alg", "RS256") != "RS256":
        return None
    try:
        return RSAKey.import_key(key)
    except (JoseError, ValueError) as error:
        log.warning("key skipped", kid=str(key.get("kid")), why=str(error))
        return None


def check_ca(ca: str) -> None:
    """Refuse an invalid CA, and a proxy that cannot be used.

    Raises:
        InvalidInput: not PEM certificates; or the environment names a proxy that is none.
    """
    check_proxies()
    try:
        client_context(ca)
    except ssl.SSLError as error:
        raise InvalidInput("the configured CA is no PEM certificate", next_step="install the server again") from error
