"""The identity provider, as far as signing in needs it: device codes (RFC 8628), and codes with PKCE (RFC 7636)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import time
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from fleet.contract.config import WebPage
from fleet.contract.errors import FleetError, InvalidInput, NotPermitted, TimedOut
from fleet.contract.parsing import NOT_JSON
from fleet.identity import issuer as idp
from fleet.identity.device_login import GRANT
from fleet.identity.tokens import granted, scopes
from fleet.process.http import http_client
from fleet.web.source import PROVIDER, Sources

_TIMEOUT = 10.0
_SLOWER = 5.0
"""Seconds that every `slow_down` adds to the interval (RFC 8628, section 3.5)."""
_LONGEST_CODE = 1800.0
"""Seconds that a device code is waited for, whatever the provider says."""
_AGAIN = "sign in again"
_LOOK, _LOOK_AGAIN = 30.0, 5.0
"""Seconds at most between two looks whether it answers: usually, and while it does not."""
_KNOWN_FOR = 300.0
"""Seconds for which its addresses are taken as they were; each look that it answers reads them again."""

T = TypeVar("T", bound=msgspec.Struct)


class Authorization(msgspec.Struct, frozen=True):
    """RFC 8628, section 3.2. `device_code` is a secret that never leaves the server."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float
    interval: float = 5
    verification_uri_complete: str = ""

    def __repr__(self) -> str:
        return f"Authorization({self.user_code!r})"


class _Endpoints(msgspec.Struct, frozen=True):
    issuer: str
    token_endpoint: str
    device_authorization_endpoint: str = ""
    authorization_endpoint: str = ""


class _Identity(msgspec.Struct, frozen=True):
    id_token: str = ""


class Provider:
    """Asks the provider that the page is configured with, and nobody else. Raises only `FleetError`s."""

    def __init__(self, page: WebPage) -> None:
        """Contact nobody yet."""
        self._page = page
        self._scope = f"{scopes(page.project_id)} profile"
        self._tls = idp.trust(page.issuer_ca)
        self._known: tuple[float, _Endpoints] | None = None

    async def begin_device(self) -> Authorization:
        """A code for a person to approve.

        Raises:
            Unreachable: no answer.
            InvalidInput: it knows no such client, or the address is wrong.
        """
        async with self._client() as http:
            found = await self._endpoints(http)
            where = found.device_authorization_endpoint or f"{self._page.issuer}/oauth/v2/device_authorization"
            answer = await self._post(http, where, {"client_id": self._page.cli_client_id, "scope": self._scope})
        if answer.status_code == HTTPStatus.OK:
            asked = _parsed(answer, Authorization, self._page.issuer)
            return msgspec.structs.replace(asked, expires_in=min(asked.expires_in, _LONGEST_CODE))
        raise self._refused(answer, f"it takes no device login of the application {self._page.cli_client_id}")

    async def poll_device(self, asked: Authorization, interval: float) -> tuple[str, float]:
        """Ask once whether the code was approved: the token, a secret, or empty; and the interval from now on.

        Raises:
            NotPermitted: it was denied.
            TimedOut: it has expired.
            Unreachable: no answer.
        """
        form = {"grant_type": GRANT, "client_id": self._page.cli_client_id, "device_code": asked.device_code}
        try:
            async with self._client() as http:
                answer = await http.post((await self._endpoints(http)).token_endpoint, data=form)
        except httpx.HTTPError as error:
            raise idp.unreachable(self._page.issuer, error, time.time()) from error
        if answer.status_code == HTTPStatus.OK:
            return granted(answer.content, time.monotonic(), self._page.issuer).text, interval
        refusal = idp.refusal(answer)
        code = refusal.error if refusal else ""
        if code == "authorization_pending":
            return "", interval
        if code == "slow_down":
            return "", interval + _SLOWER
        if code == "expired_token":
            raise TimedOut("the code expired before it was approved", next_step=_AGAIN)
        raise self._refused(answer, "the sign-in was denied")

    async def authorize_url(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where a browser goes to sign in.

        Raises:
            Unreachable, InvalidInput: as `begin_device`.
        """
        async with self._client() as http:
            found = await self._endpoints(http)
        digest = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._page.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{found.authorization_endpoint or f'{self._page.issuer}/oauth/v2/authorize'}?{urlencode(query)}"

    async def exchange(self, code: str, redirect_uri: str, verifier: str) -> tuple[str, str]:
        """The access token and the ID token for a code, both secrets; the second is empty where there is none.

        Raises:
            NotPermitted: the code is not good, or not ours.
            Unreachable, InvalidInput: as `begin_device`.
        """
        form = {
            "grant_type": "authorization_code",
            "client_id": self._page.client_id,
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        async with self._client() as http:
            found = await self._endpoints(http)
            answer = await self._post(http, found.token_endpoint, form)
        if answer.status_code == HTTPStatus.OK:
            token = granted(answer.content, time.monotonic(), self._page.issuer).text
            return token, _parsed(answer, _Identity, self._page.issuer).id_token
        raise self._refused(answer, "it does not take the code that it gave")

    async def watch(self, sources: Sources) -> None:
        """Keep `sources` told whether people could sign in, until cancelled."""
        while True:
            try:
                async with self._client() as http:
                    await self._discover(http)
                sources.mark_available(PROVIDER)
                pause = _LOOK
            except FleetError as error:
                sources.mark_unavailable(PROVIDER, error.what)
                pause = _LOOK_AGAIN
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads attempts, hides nothing

    def _client(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return http_client(self._tls, _TIMEOUT)

    async def _endpoints(self, http: httpx.AsyncClient) -> _Endpoints:
        """Where it is asked: strangers must not make two questions of each one."""
        if self._known is not None and time.monotonic() - self._known[0] < _KNOWN_FOR:
            return self._known[1]
        return await self._discover(http)

    async def _discover(self, http: httpx.AsyncClient) -> _Endpoints:
        issuer, self._known = self._page.issuer, None
        try:
            answer = await http.get(f"{issuer}{idp.DISCOVERY_PATH}")
        except httpx.HTTPError as error:
            raise idp.unreachable(issuer, error, time.time()) from error
        idp.discovered(issuer, answer)
        found = _parsed(answer, _Endpoints, issuer)
        for url in (found.device_authorization_endpoint, found.authorization_endpoint):
            if url and not url.startswith(f"{issuer}/"):
                raise InvalidInput(
                    f"{issuer} sends its clients elsewhere: {url}", next_step="check the proxy before it"
                )
        self._known = time.monotonic(), found
        return found

    async def _post(self, http: httpx.AsyncClient, url: str, form: dict[str, str]) -> httpx.Response:
        try:
            return await http.post(url, data=form)
        except httpx.HTTPError as error:
            raise idp.unreachable(self._page.issuer, error, time.time()) from error

    def _refused(self, answer: httpx.Response, what: str) -> FleetError:
        refusal = idp.refusal(answer)
        if refusal is None or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return idp.ill(self._page.issuer, answer)
        said = f"{refusal.error}: {refusal.error_description}".rstrip(": ")
        return NotPermitted(f"{self._page.issuer}: {what} ({said})", next_step=_AGAIN)


def _parsed(answer: httpx.Response, kind: type[T], issuer: str) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except NOT_JSON as error:
        raise InvalidInput(f"{issuer} answers something else", next_step="is that the identity provider?") from error
