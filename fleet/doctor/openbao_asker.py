"""Requests to an OpenBao, whose certificate is checked as the operator checks it."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import Self, TypeVar

import httpx
import msgspec

from fleet.contract.errors import FleetError, InvalidInput, Unreachable
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import OPENBAO_SECRET
from fleet.doctor.findings import Worrying
from fleet.identity.issuer import tls_cause
from fleet.identity.proxies import check_proxies
from fleet.process.deadline import in_time
from fleet.process.failures import in_words
from fleet.process.tls import client_context
from fleet.secrets.openbao_connection import SEE, Connection
from fleet.secrets.openbao_refusal import refusal

_WITHIN, _WHOLE = 10.0, 20.0
"""Seconds for each step of a request, and for all of it."""
_LARGEST = 2**20
"""Bytes of an answer."""
_EXPIRED, _NOT_YET = 10, 9
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED and _CERT_NOT_YET_VALID."""
T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True):
    """A status code, and what came with it, which may be a secret."""

    status: int
    content: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status})"

    @property
    def said(self) -> str:
        """OpenBao's own words about a refusal, or the code."""
        try:
            return refusal(self.content) or str(self.status)
        except NOT_JSON:
            return str(self.status)


class Asker:
    """Asks one OpenBao."""

    def __init__(self, to: Connection) -> None:
        """Contact nothing yet.

        Raises:
            InvalidInput: its authority is no certificate, or the environment names a proxy that cannot be used.
        """
        self._to = to
        self.ends: float | None = None
        """When its certificate ends, in Unix seconds."""
        check_proxies()
        try:
            trust = client_context(to.ca)
        except ssl.SSLError as error:
            raise InvalidInput(f"`ca` of the Secret {OPENBAO_SECRET} is no PEM certificate", next_step=SEE) from error
        self._http = httpx.Client(verify=trust, timeout=_WITHIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, body: object = None, *, token: str = "") -> Answer:
        """One request to `/v1/<path>`.

        Raises:
            Worrying: there is no answer here, or one that says to try again.
            FleetError: its certificate is not trusted.
        """
        headers = {"X-Vault-Token": token} if token else {}
        content = None if body is None else msgspec.json.encode(body)
        url = f"{self._to.url.rstrip('/')}/v1/{path}"

        def answered() -> Answer:
            got = bytearray()
            with self._http.stream(method, url, content=content, headers=headers) as answer:
                self.ends = _certificate_end(answer)
                for part in answer.iter_bytes():
                    got += part
                    if len(got) > _LARGEST:
                        raise self._away("its answer has no end")
            return Answer(answer.status_code, bytes(got))

        try:
            found = in_time(_WHOLE, answered)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            cause = tls_cause(error)
            raise (self._untrusted(cause) if cause else self._away(in_words(error))) from error
        if found.status == HTTPStatus.TOO_MANY_REQUESTS or found.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._away(f"it answers {path} with {found.status} {found.said}")
        return found

    def decoded(self, method: str, path: str, kind: type[T]) -> T:
        """What it answers to who has no token; raises as `ask` and `parsed`."""
        return self.parsed(self.ask(method, path), kind, path)

    def parsed(self, answer: Answer, kind: type[T], path: str) -> T:
        """What an answer holds.

        Raises:
            InvalidInput: something else.
        """
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except NOT_JSON as error:
            raise InvalidInput(
                f"{self._to.url} answers {path} not as OpenBao does: {answer.said}",
                next_step=f"is `url` in the Secret {OPENBAO_SECRET} OpenBao's address, and no proxy's?",
            ) from error

    def _away(self, why: str) -> Worrying:
        return Worrying(
            f"{self._to.url} does not answer from here: {why}",
            next_step="does it run? The operator must reach it: `fleet deployment show` says whether it does",
        )

    def _untrusted(self, cause: ssl.SSLCertVerificationError) -> FleetError:
        url = self._to.url
        if cause.verify_code in {_EXPIRED, _NOT_YET}:
            ended = "has ended" if cause.verify_code == _EXPIRED else "has not begun"
            return Unreachable(f"the certificate of {url} {ended}", next_step="is this clock right? then renew it")
        if not self._to.ca:
            return Worrying(
                f"the certificate of {url} is not trusted here: {cause.verify_message}",
                next_step=f"give its authority as `ca` in the Secret {OPENBAO_SECRET}: without, the operator trusts "
                "those of its own machine",
            )
        return InvalidInput(
            f"the certificate of {url} is not trusted: {cause.verify_message}",
            next_step=f"in the Secret {OPENBAO_SECRET}, give the authority that signed it (`ca`), and its name (`url`)",
        )


def _certificate_end(answer: httpx.Response) -> float | None:
    secured = answer.extensions["network_stream"].get_extra_info("ssl_object")
    shown = secured.getpeercert() if secured is not None else None
    return ssl.cert_time_to_seconds(str(shown["notAfter"])) if shown else None
