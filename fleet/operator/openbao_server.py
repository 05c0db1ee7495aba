"""One OpenBao as the operator reads it: an entry of a key-value engine of version 2, or why that cannot be had."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

import aiohttp
import msgspec

from fleet.contract.parsing import NOT_JSON
from fleet.contract.printable import shortened
from fleet.contract.sealed import DOCKER_CONFIG_KEY, DOCKER_CONFIG_TYPE, OPENBAO_SECRET
from fleet.operator.reconcile.secrets import OPENBAO_AWAY, SecretSeen
from fleet.process.backoff import Backoff
from fleet.process.failures import in_words
from fleet.secrets.openbao_connection import SEE, Connection, Token, token_of
from fleet.secrets.openbao_refusal import refusal

_TIMEOUT = aiohttp.ClientTimeout(total=3)
"""Seconds for one request: meanwhile no other entry is read."""
_FIRST, _LONGEST = 1.0, 60.0
"""Seconds for which an OpenBao that is away is not asked again."""
_LOOK_AT_TOKEN = 300.0
"""Seconds between two looks at how long our token holds."""
_SAID = 300
"""Characters of OpenBao's own words that are shown: Kubernetes takes no status with a megabyte of them."""
_LARGEST = 2 * 2**20
"""Bytes of an answer: OpenBao's storage takes 1 MiB for an entry."""


class _Metadata(msgspec.Struct, frozen=True):
    version: int
    created_time: Annotated[str, msgspec.Meta(max_length=64)]


class _Entry(msgspec.Struct, frozen=True):
    metadata: _Metadata
    data: dict[str, msgspec.Raw] | None = None


class _Read(msgspec.Struct, frozen=True):
    data: _Entry


class _Auth(msgspec.Struct, frozen=True):
    client_token: Annotated[str, msgspec.Meta(min_length=1, max_length=4096, pattern=r"^[!-~]+\Z")]


class _LoggedIn(msgspec.Struct, frozen=True):
    auth: _Auth


class Lacking(Exception):  # noqa: N818 - carries an answer
    """Why an entry cannot be had: the reason of a condition, and a message."""

    def __init__(self, reason: str, why: str) -> None:
        self.reason, self.why = reason, why


class _Answer(msgspec.Struct, frozen=True):
    """A status code, and what came with it; may hold secrets."""

    status: int
    content: bytes

    def __repr__(self) -> str:
        return f"_Answer({self.status})"

    @property
    def said(self) -> str:
        """OpenBao's own words about a refusal."""
        try:
            return shortened(refusal(self.content), _SAID)
        except NOT_JSON:
            return ""


class OpenBaoServer:
    """One OpenBao; while it is away, it is asked less and less often."""

    def __init__(self, connection: Connection, account: Callable[[], str]) -> None:
        """Contact nothing yet. `account` gives the token of the operator's ServiceAccount, a secret."""
        self.connection = connection
        self._url = connection.url.rstrip("/")
        self._account = account
        self._token = ""
        self._session: aiohttp.ClientSession | None = None
        self._backoff = Backoff(_FIRST, _LONGEST)
        self._not_before = 0.0
        self._why = ""
        self._about_token: Token | None = None
        self._look_at_token = 0.0

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def entry(self, path: str) -> SecretSeen:
        """What is at a path below that of the connection.

        Raises:
            Lacking: it is not there, or cannot be read, or OpenBao is away.
        """
        clock = asyncio.get_running_loop().time
        if clock() < self._not_before:
            raise Lacking(OPENBAO_AWAY, self._why)
        try:
            found = await self._entry(path)
        except Lacking as lacking:
            if lacking.reason == OPENBAO_AWAY:
                self._why, self._not_before = lacking.why, clock() + self._backoff.next()
            else:
                self._backoff.reset()
            raise
        self._backoff.reset()
        return found

    async def token(self) -> Token | None:
        """What it said last of the token of the connection; None where there is none, or it has not said it yet."""
        clock = asyncio.get_running_loop().time
        if self.connection.token and clock() >= max(self._look_at_token, self._not_before):
            self._look_at_token = clock() + _LOOK_AT_TOKEN
            with contextlib.suppress(Lacking):
                answer = await self._ask("GET", "auth/token/lookup-self", token=self.connection.token)
                self._about_token = token_of(answer.content) or self._about_token
        return self._about_token

    async def _entry(self, path: str) -> SecretSeen:
        to = self.connection
        place = f"{to.mount}/data/{to.path}/{path}"
        self._token = self._token or await self._login()
        answer = await self._ask("GET", place, token=self._token)
        if answer.status == HTTPStatus.FORBIDDEN and not await self._knows_token():
            self._token = await self._login()
            answer = await self._ask("GET", place, token=self._token)
        if answer.status == HTTPStatus.FORBIDDEN:
            why = "may not read it" if await self._knows_token() else "has a token that has expired, or never was one"
            raise Lacking("SecretForbidden", f"the operator {why} ({self._url} {place}); {SEE}")
        return self._seen(answer, f"{to.mount}/{to.path}/{path}", place)

    def _seen(self, answer: _Answer, path: str, place: str) -> SecretSeen:
        try:
            found = msgspec.json.decode(answer.content, type=_Read).data
        except NOT_JSON:
            if answer.status == HTTPStatus.NOT_FOUND:
                raise Lacking("SecretMissing", f"{self._url} has nothing at {path}") from None
            raise Lacking(
                "SecretUnusable",
                f"{self._url} answers {place} with {answer.status}, and not as a key-value engine of version 2"
                + (f": {answer.said}" if answer.said else ""),
            ) from None
        about = found.metadata
        if found.data is None:
            raise Lacking("SecretMissing", f"version {about.version} of {path} at {self._url} was deleted")
        kind = DOCKER_CONFIG_TYPE if DOCKER_CONFIG_KEY in found.data else "Opaque"
        try:
            data = {name: _value(raw) for name, raw in found.data.items()}
        except NOT_JSON:
            raise Lacking("SecretUnusable", f"a value of {path} at {self._url} is no text") from None
        return SecretSeen(about.created_time, f"{path} {about.version}", kind, True, data)

    async def _login(self) -> str:
        """A token, a secret."""
        to = self.connection
        if to.role is msgspec.UNSET:
            return to.token
        body = {"role": to.role, "jwt": self._account()}
        answer = await self._ask("POST", f"auth/{to.auth}/login", body)
        try:
            return msgspec.json.decode(answer.content, type=_LoggedIn).auth.client_token
        except NOT_JSON:
            why = "it gives no token" if answer.status == HTTPStatus.OK else answer.said or answer.status
            raise Lacking(
                "SecretForbidden", f"{self._url} refuses the login as role {to.role} at auth/{to.auth}: {why}"
            ) from None

    async def _knows_token(self) -> bool:
        """Whether OpenBao knows our token (each token may ask about itself)."""
        return (await self._ask("GET", "auth/token/lookup-self", token=self._token)).status == HTTPStatus.OK

    async def _ask(self, method: str, path: str, body: object = None, *, token: str = "") -> _Answer:
        headers = {"X-Vault-Token": token} if token else {}
        content = None if body is None else msgspec.json.encode(body)
        url = f"{self._url}/v1/{path}"
        try:
            async with self._connected().request(
                method, url, data=content, headers=headers, allow_redirects=False
            ) as response:
                answer = _Answer(response.status, await _bounded(response))
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, ValueError) as error:
            raise Lacking(OPENBAO_AWAY, f"{self._url} does not answer: {_cause(error)}") from None
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            sealed = answer.status == HTTPStatus.SERVICE_UNAVAILABLE and "sealed" in answer.said.lower()
            why = "is sealed" if sealed else f"answers {answer.status} {answer.said}".strip()
            raise Lacking(OPENBAO_AWAY, f"{self._url} {why}")
        return answer

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            try:
                trust = ssl.create_default_context(cadata=self.connection.ca or None)
            except (ssl.SSLError, ValueError):
                raise Lacking("SecretUnusable", f"`ca` of the Secret {OPENBAO_SECRET} is no PEM certificate") from None
            connector = aiohttp.TCPConnector(ssl=trust)
            self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        return self._session


def _cause(error: Exception) -> str:
    """Why a request failed, without the addresses of objects and the names of classes that aiohttp writes there."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as refused):
            return f"its certificate is not trusted: {refused.verify_message}"
        case aiohttp.ClientConnectorError():
            return in_words(error.os_error)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "what it sends is no whole answer of HTTP"
        case _:
            return in_words(error)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for part in response.content.iter_chunked(2**16):
        content += part
        if len(content) > _LARGEST:
            raise Lacking("SecretTooLarge", f"what is there has more than {_LARGEST} bytes")
    return bytes(content)


def _value(raw: msgspec.Raw) -> bytes:
    """A text as it is, and anything else as JSON: a number, or a configuration of logins."""
    content = bytes(raw)
    return msgspec.json.decode(content, type=str).encode() if content.startswith(b'"') else content
