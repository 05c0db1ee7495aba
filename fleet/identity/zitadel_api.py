"""Zitadel's management API v1 on the wire: one call, its answers, and the errors they mean."""

from __future__ import annotations

import time
from typing import Any, TypeVar

import httpx
import msgspec

from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, NotPermitted
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.identity import issuer as idp
from fleet.process.deadline import WHOLE, Overdue, in_time

Json = dict[str, Any]
T = TypeVar("T")


class AlreadyExists(Conflict):
    """The one conflict that ends well: somebody made it already."""


_UNAUTHENTICATED = 16
_MEANING: dict[int, tuple[type[FleetError], str]] = {
    3: (InvalidInput, "correct the value that is named"),
    5: (NotFound, "was it removed in Zitadel meanwhile? run the command again"),
    6: (AlreadyExists, "see the object in Zitadel's console"),
    7: (NotPermitted, "make the admin an Org Owner in Zitadel, or use another's token"),
    9: (Conflict, "see the object in Zitadel's console"),
    _UNAUTHENTICATED: (NotPermitted, "log in again or create a new token; is this the instance it was made for?"),
}
"""gRPC codes (INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION): what, what next."""


class _Failure(msgspec.Struct, frozen=True):
    """A v1 error: a gRPC code, and a sentence that depends on the version."""

    code: int
    message: str = ""


class _UserInfo(msgspec.Struct, frozen=True):
    sub: str


class Api:
    """An authenticated connection to one instance. Close it, or use it in a `with`."""

    def __init__(self, issuer: str, ca: str, token: str, *, timeout: float = 10) -> None:
        """Prepare; nothing is contacted yet.

        Args:
            issuer: The instance's own name.
            ca: PEM certificates that sign its certificate; empty for this machine's authorities.
            token: An admin's access token. A secret.
            timeout: Seconds that one call may be silent.

        Raises:
            InvalidInput: the issuer or the CA does not parse, or the token cannot be one.
        """
        self.issuer = idp.parse_issuer(issuer)
        if not token.isascii() or not token.isprintable() or not token:
            raise InvalidInput("the admin's token is not an access token", next_step="log in again, or check its file")
        self._http = httpx.Client(verify=idp.trust(ca), timeout=timeout, headers={"Authorization": f"Bearer {token}"})

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def discover(self) -> idp.Discovery:
        """The instance's metadata, its issuer compared byte for byte; see `fleet.identity.issuer.discovered`."""
        return idp.discovered(self.issuer, self._send("GET", idp.DISCOVERY_PATH, None))

    def clock(self) -> int:
        """See `Zitadel.clock`."""
        answer = self._send("GET", idp.DISCOVERY_PATH, None)
        idp.check_clock(self.issuer, answer, time.time())
        if (theirs := idp.server_time(answer)) is None:
            raise InvalidInput(
                f"{self.issuer} does not tell its time", next_step="does a proxy take the header Date from its answers?"
            )
        return int(theirs)

    def subject(self) -> str:
        """The id of the user that the token speaks for, by the user info endpoint.

        Raises:
            NotPermitted: the token is not accepted.
            InvalidInput: the answer does not parse.
            Unreachable: no answer, or one that only says that the server is ill.
        """
        answer = self._send("GET", "/oidc/v1/userinfo", None)
        if answer.status_code == 401:
            raise NotPermitted(f"{self.issuer} does not accept the token", next_step=_MEANING[_UNAUTHENTICATED][1])
        if answer.status_code != 200:
            raise idp.ill(self.issuer, answer)
        try:
            return msgspec.json.decode(answer.content, type=_UserInfo).sub
        except NOT_JSON as error:
            why = validation_words(error)
            raise InvalidInput(
                f"{self.issuer} describes a user in a shape we do not know: {why}", next_step="is that Zitadel?"
            ) from error

    def call(self, method: str, path: str, body: Json | None, kind: type[T]) -> T:
        """Call `/management/v1<path>`.

        Raises:
            NotPermitted: the token is not accepted, or its user lacks the right.
            NotFound, Conflict, InvalidInput: the API says so. Conflict also means "nothing to change".
            Unreachable: no answer, or one that only says that the server is ill.
        """
        answer = self._send(method, f"/management/v1{path}", body)
        if answer.status_code != 200:
            raise self._failure(method, path, answer)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except NOT_JSON as error:
            raise InvalidInput(
                f"{self.issuer} answered {method} {path} in a shape we do not know: {validation_words(error)}",
                next_step="is that Zitadel, of a version that has the management API v1?",
            ) from error

    def _send(self, method: str, path: str, body: Json | None) -> httpx.Response:
        try:
            return in_time(WHOLE, lambda: self._http.request(method, f"{self.issuer}{path}", json=body))
        except (httpx.HTTPError, Overdue) as error:
            raise idp.unreachable(self.issuer, error, time.time()) from error

    def _failure(self, method: str, path: str, answer: httpx.Response) -> FleetError:
        try:
            found = msgspec.json.decode(answer.content, type=_Failure)
        except NOT_JSON:
            return idp.ill(self.issuer, answer)
        message = f"{self.issuer} answered {method} {path} with {answer.status_code}: {found.message}"
        if found.code not in _MEANING:
            return idp.ill(self.issuer, answer)
        kind, step = _MEANING[found.code]
        hint = idp.other_instance(self.issuer) if found.code == _UNAUTHENTICATED else ""
        return kind(message, next_step=step + hint)
