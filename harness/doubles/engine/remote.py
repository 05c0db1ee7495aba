"""Images from a registry of this machine, as dockerd fetches them (OCI distribution specification, "Pull")."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import re
import ssl
from collections.abc import AsyncGenerator

import httpx
import msgspec

from harness.doubles.engine.errors import Refused

_LOCAL = re.compile(r"127(\.\d{1,3}){3}:\d+")
"""Registries elsewhere are not asked: the double must work the same wherever it runs."""
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

Line = dict[str, object]
"""One of an answer's lines (Docker Engine API, `CreateImageInfo`)."""


class _Login(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""


class _Part(msgspec.Struct, frozen=True):
    digest: str
    size: int


class _Manifest(msgspec.Struct, frozen=True):
    config: _Part
    layers: list[_Part]


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str = ""


class _Errors(msgspec.Struct, frozen=True):
    errors: list[_Error] = []


class Fetched:
    """What came of an image: its digest, its configuration, and its layers as plain tar files."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.digest = ""
        self.config = b""
        self.layers: list[bytes] = []


class Remote:
    """An image in a registry: `address/repository:tag`, asked with a login if there is one."""

    def __init__(self, address: str, repository: str, tag: str, auth: str) -> None:
        """`auth` is the header `X-Registry-Auth` as it came."""
        self._address, self._repository, self._tag = address, repository, tag
        login = msgspec.json.decode(base64.urlsafe_b64decode(auth), type=_Login) if auth else None
        self._auth = (login.username, login.password) if login else None
        self._manifest = _Manifest(_Part("", 0), [])
        self._blobs = ""
        self.fetched = Fetched()
        # SSL_CERT_FILE names the certificates that it trusts, as for an engine in Go.
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(), auth=self._auth, timeout=httpx.Timeout(None), trust_env=False
        )

    @classmethod
    def of(cls, name: str, tag: str, auth: str) -> Remote | None:
        """The image of that name, if it is in a registry of this machine."""
        address, _, repository = name.partition("/")
        return cls(address, repository, tag, auth) if _LOCAL.fullmatch(address) and repository else None

    async def begin(self) -> None:
        """Ask for the manifest, over HTTPS, and where nobody speaks that over HTTP.

        Raises:
            Refused: with docker's words for what the registry answers.
        """
        base = f"https://{self._address}"
        try:
            answer = await self._manifest_at(base)
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Refused(500, f'Get "{base}/v2/": x509: certificate signed by unknown authority') from error
            base = f"http://{self._address}"
            try:
                answer = await self._manifest_at(base)
            except httpx.TransportError as failed:
                raise Refused(
                    500, f'Get "{base}/v2/": dial tcp {self._address}: connect: connection refused'
                ) from failed
        if answer.is_error:
            raise self._refusal(answer)
        self._blobs = f"{base}/v2/{self._repository}/blobs/"
        self.fetched.digest = _digest(answer.content)
        self._manifest = msgspec.json.decode(answer.content, type=_Manifest)

    async def lines(self) -> AsyncGenerator[Line]:
        """Fetch the rest; the last line is an error if it did not all come."""
        parts = (self._manifest.config, *self._manifest.layers)
        try:
            for part in parts:
                data = b""
                async with self._client.stream("GET", f"{self._blobs}{part.digest}") as answer:
                    answer.raise_for_status()
                    async for piece in answer.aiter_raw():
                        data += piece
                        yield self._told(part, "Downloading", len(data))
                if _digest(data) != part.digest:
                    yield {"error": f"filesystem layer verification failed for digest {part.digest}"}
                    return
                yield self._told(part, "Download complete", len(data))
                if part is self._manifest.config:
                    self.fetched.config = data
                else:
                    self.fetched.layers.append(gzip.decompress(data))
        except httpx.HTTPError:
            yield {"error": "unexpected EOF"}

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def _manifest_at(self, base: str) -> httpx.Response:
        path = f"{base}/v2/{self._repository}/manifests/{self._tag}"
        return await self._client.get(path, headers={"accept": _MANIFEST})

    def _refusal(self, answer: httpx.Response) -> Refused:
        told = _Errors()
        with contextlib.suppress(msgspec.DecodeError):
            told = msgspec.json.decode(answer.content, type=_Errors)
        words = ", ".join(f"{error.code.lower().replace('_', ' ')}: {error.message}" for error in told.errors)
        if answer.status_code == 401 and self._auth is None:
            return Refused(500, f'Head "{answer.url}": no basic auth credentials')
        if answer.status_code >= 500:
            return Refused(500, f"received unexpected HTTP status: {answer.status_code} {answer.reason_phrase}")
        return Refused(404 if answer.status_code == 404 else 500, words or answer.reason_phrase)

    def _told(self, part: _Part, status: str, current: int) -> Line:
        at = {"current": current, "total": part.size} if status == "Downloading" else {}
        return {"id": part.digest[7:19], "status": status, "progressDetail": at}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
