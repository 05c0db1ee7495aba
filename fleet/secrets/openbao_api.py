"""The requests to OpenBao's HTTP API that secrets need, and its refusals in words."""

from __future__ import annotations

import ssl
import weakref
from http import HTTPStatus
from typing import TypeVar

import httpx
import msgspec

from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotPermitted, Unreachable
from fleet.contract.parsing import NOT_JSON
from fleet.identity.issuer import tls_cause, trust
from fleet.identity.proxies import proxy_for
from fleet.process.deadline import Overdue, in_time
from fleet.process.failures import in_words
from fleet.process.retry import retrying
from fleet.secrets.openbao_config import Credentials
from fleet.secrets.openbao_refusal import refusal

_TIMEOUT = 10.0
"""Seconds for which one request may be silent."""
_WHOLE = 30.0
"""Seconds for a whole answer."""
_LARGEST = 4 * 2**20
"""Bytes of an answer: OpenBao's storage takes 1 MiB for an entry."""
_OUTAGE = 20.0
"""Seconds for which OpenBao may be away before we give up, as with Kubernetes."""
_LONGEST_PAUSE = 2.0

T = TypeVar("T")


class _Auth(msgspec.Struct, frozen=True):
    client_token: str


class _LoggedIn(msgspec.Struct, frozen=True):
    auth: _Auth


class _Options(msgspec.Struct, frozen=True):
    version: str = ""


class _Mount(msgspec.Struct, frozen=True):
    type: str
    uuid: str
    options: _Options | None = None


class _Mounted(msgspec.Struct, frozen=True):
    data: _Mount


class Answer(msgspec.Struct, frozen=True):
    """A status code below 300, or 404, and what came with it; may hold secrets."""

    status: int
    content: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status})"


class _Away(Exception):  # noqa: N818 - no error: it is asked again
    """No answer, or one that says to try again."""


class OpenBaoApi:
    """A connection to one OpenBao; logs in with its first request, and again once when the token has expired."""

    def __init__(self, credentials: Credentials) -> None:
        """Prepare; nothing is contacted yet.

        Raises:
            InvalidInput: the CA holds no certificate, or the environment names a proxy that cannot be used.
        """
        self._credentials = credentials
        self._config = credentials.config
        self._token = ""
        self._http = httpx.Client(verify=trust(credentials.ca), timeout=_TIMEOUT)
        weakref.finalize(self, self._http.close)  # nobody closes a store

    def mount_id(self) -> str:
        """The id of the key-value engine: it stays the same by whichever address OpenBao is reached.

        Raises:
            InvalidInput: there is another engine there, or one of version 1.
            NotPermitted, Unreachable: see `call`.
        """
        mount = self._config.mount
        try:
            found = self.decoded(self.call("GET", f"sys/internal/ui/mounts/{mount}"), _Mounted).data
        except NotPermitted as error:
            if "preflight" not in error.what:
                raise
            raise NotPermitted(
                f"{self._config.url} has no mount {mount!r}, or the token has no right to anything in it",
                next_step=f"correct `mount`, or have somebody run: bao secrets enable -path={mount} kv-v2",
            ) from error
        version = found.options.version if found.options else ""
        if found.type != "kv" or version != "2":
            kind = f"a key-value engine of version {version or 1}" if found.type == "kv" else f"of type {found.type}"
            raise InvalidInput(
                f"{self._config.url}: {mount!r} is {kind}, and secrets need one of version 2, which compares and sets",
                next_step=f"name another mount, or have somebody run: bao kv enable-versioning {mount}",
            )
        return found.uuid

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """One request to `/v1/<path>`, with our token.

        Raises:
            Conflict: what is kept has another version than the one that was named.
            InvalidInput: no such mount, or OpenBao does not accept the request.
            NotPermitted: the token has expired, is unknown, or has no such right; or the login was refused.
            Unreachable: OpenBao is sealed, or did not answer for 20 s.
        """
        self._token = self._token or self._login()
        answer = self._send(method, path, body, self._token)
        if answer.status_code == HTTPStatus.FORBIDDEN and not self._is_known():
            self._token = self._login()
            answer = self._send(method, path, body, self._token)
        if answer.is_success or (answer.status_code == HTTPStatus.NOT_FOUND and not self._said(answer)):
            return Answer(answer.status_code, answer.content)
        raise self._refusal(method, path, answer)

    def decoded(self, answer: Answer, kind: type[T]) -> T:
        """What came with an answer.

        Raises:
            InvalidInput: it is not of that kind.
        """
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except NOT_JSON as error:
            raise InvalidInput(
                f"{self._config.url} answers, but not as OpenBao does",
                next_step="is this OpenBao's address, or a proxy's page?",
            ) from error

    def _login(self) -> str:
        """A token, a secret."""
        login = self._config.kubernetes
        if login is None:
            return self._credentials.token()
        body = {"role": login.role, "jwt": self._credentials.account_token(login)}
        answer = self._send("POST", f"auth/{login.mount}/login", body, "")
        if not answer.is_success:
            raise NotPermitted(
                f"{self._config.url} refused the login as role {login.role!r} at auth/{login.mount}: "
                f"{self._said(answer) or answer.status_code}",
                next_step="see that the auth method is enabled there, and that the role names this ServiceAccount and "
                "its namespace",
            )
        return self.decoded(Answer(answer.status_code, answer.content), _LoggedIn).auth.client_token

    def _is_known(self) -> bool:
        """Whether OpenBao knows our token (each token may ask about itself)."""
        return self._send("GET", "auth/token/lookup-self", None, self._token).is_success

    def _send(self, method: str, path: str, body: object, token: str) -> httpx.Response:
        try:
            return self._once(method, path, body, token)
        except _Away:  # or a connection that was idle for too long
            pass
        try:
            return retrying(timeout=_OUTAGE, longest_pause=_LONGEST_PAUSE)(_Away, self._once, method, path, body, token)
        except _Away as error:
            proxy = proxy_for(self._config.url)
            raise Unreachable(
                f"OpenBao at {self._config.url} does not answer{f' through the proxy {proxy}' if proxy else ''}: "
                f"{error}",
                next_step="does it run, and is its address right? A running fleet does not need it; this command does",
            ) from error

    def _once(self, method: str, path: str, body: object, token: str) -> httpx.Response:
        headers = {"X-Vault-Token": token} if token else {}
        content = None if body is None else msgspec.json.encode(body)

        def received() -> httpx.Response:
            got = bytearray()
            url = f"{self._config.url}/v1/{path}"
            with self._http.stream(method, url, content=content, headers=headers) as streamed:
                for part in streamed.iter_bytes():
                    got += part
                    if len(got) > _LARGEST:
                        raise _Away("its answer has no end")
            return httpx.Response(streamed.status_code, content=bytes(got))

        try:
            answer = in_time(_WHOLE, received)
        except (httpx.HTTPError, Overdue) as error:
            if (cause := tls_cause(error)) is not None:
                raise self._untrusted(cause) from error
            raise _Away(in_words(error)) from error
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE and "sealed" in self._said(answer).lower():
            raise Unreachable(
                f"OpenBao at {self._config.url} is sealed: it gives no secrets until somebody unseals it",
                next_step="have it unsealed (bao operator unseal), then repeat; a running fleet does not need it",
            )
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS or answer.is_server_error:
            raise _Away(f"{answer.status_code} {self._said(answer)}".strip())
        return answer

    def _untrusted(self, cause: ssl.SSLCertVerificationError) -> InvalidInput:
        return InvalidInput(
            f"the certificate of OpenBao at {self._config.url} is not trusted: {cause.verify_message}",
            next_step="give the CA that signed it as `caFile`, and the name in the certificate as `url`; is this the "
            "right server, and this machine's clock right?",
        )

    def _said(self, answer: httpx.Response) -> str:
        try:
            return refusal(answer.content)
        except NOT_JSON:
            return "no words of OpenBao's" if answer.content else ""

    def _refusal(self, method: str, path: str, answer: httpx.Response) -> FleetError:
        url, said = self._config.url, self._said(answer)
        if answer.is_redirect:
            return InvalidInput(
                f"{url} sends requests elsewhere, and tokens do not follow",
                next_step="give the address of the active OpenBao, or of one that forwards requests",
            )
        if answer.status_code == HTTPStatus.FORBIDDEN and not self._is_known():
            return NotPermitted(
                f"OpenBao at {url} does not know the token: it has expired, or was revoked",
                next_step="log in again (bao login), or renew the token in its file",
            )
        if answer.status_code == HTTPStatus.FORBIDDEN:
            return NotPermitted(
                f"OpenBao at {url} does not allow our token {method} {path}: {said}",
                next_step="give it the policy of docs/operations.md, Secrets in OpenBao",
            )
        if "check-and-set" in said:
            return Conflict(f"{path} has changed meanwhile", next_step="read it again, and decide again")
        return InvalidInput(
            f"OpenBao at {url} answered {method} {path} with {answer.status_code}: {said}",
            next_step="see that `mount` is a key-value engine of version 2, and `url` an OpenBao",
        )
