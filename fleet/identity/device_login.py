"""An admin's login by device code (RFC 8628): any browser approves what a terminal asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import msgspec

from fleet.contract.errors import InvalidInput, NotPermitted, TimedOut
from fleet.contract.parsing import NOT_JSON
from fleet.identity import issuer as idp
from fleet.identity.access_token import AccessToken
from fleet.identity.tokens import granted
from fleet.process.deadline import WHOLE, Overdue, in_time

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SCOPES = "openid profile urn:zitadel:iam:org:project:id:zitadel:aud"
"""The last one lets the token be used for Zitadel's own API."""
_SLOWER = 5
"""Seconds that every `slow_down` adds to the interval (RFC 8628, section 3.5)."""


class Prompt(msgspec.Struct, frozen=True):
    """What the person must see. `expires_in` is in seconds."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: float


class _Authorization(msgspec.Struct, frozen=True):
    """RFC 8628, section 3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float
    interval: float = 5
    verification_uri_complete: str = ""

    def __repr__(self) -> str:
        return "_Authorization(...)"


class Clock(msgspec.Struct, frozen=True):
    """The clock of the login; tests replace it. Both are in seconds, `now` is monotonic."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


REAL_CLOCK = Clock()


def device_login(
    issuer: str, ca: str, client_id: str, *, tell: Callable[[Prompt], None], clock: Clock = REAL_CLOCK
) -> AccessToken:
    """Log in: `tell` the person what to open, and wait until they have decided.

    Raises:
        InvalidInput: the issuer, its CA or the client id is wrong.
        NotPermitted: the person or the issuer refused.
        TimedOut: nobody decided before the code expired.
        Unreachable: the issuer does not answer.
    """
    with httpx.Client(verify=idp.trust(ca), timeout=10) as http:
        try:
            described = f"{idp.parse_issuer(issuer)}{idp.DISCOVERY_PATH}"
            found = idp.discovered(issuer, in_time(WHOLE, lambda: http.get(described)))
            where = found.device_authorization_endpoint or f"{issuer}/oauth/v2/device_authorization"
            answer = in_time(WHOLE, lambda: http.post(where, data={"client_id": client_id, "scope": SCOPES}))
        except (httpx.HTTPError, Overdue) as error:
            raise idp.unreachable(issuer, error, time.time()) from error
        asked = _authorization(issuer, client_id, answer)
        deadline = clock.now() + asked.expires_in
        complete = asked.verification_uri_complete or asked.verification_uri
        tell(Prompt(asked.user_code, asked.verification_uri, complete, asked.expires_in))
        poll = _Poll(http, found, client_id, asked)
        return poll.until(deadline, clock)


def _authorization(issuer: str, client_id: str, answer: httpx.Response) -> _Authorization:
    if answer.status_code == 200:
        try:
            return msgspec.json.decode(answer.content, type=_Authorization)
        except NOT_JSON as error:
            raise InvalidInput(
                f"{issuer} does not support the device flow", next_step="is that Zitadel's address?"
            ) from error
    refusal = idp.refusal(answer)
    # An unknown client is `invalid_client` to newer versions, and a `server_error` to older ones.
    if refusal is None or refusal.error not in {"invalid_client", "server_error", "unauthorized_client"}:
        raise idp.ill(issuer, answer)
    raise InvalidInput(
        f"{issuer} knows no client {client_id!r} for device logins "
        f"({refusal.error}: {refusal.error_description}){idp.other_instance(issuer)}",
        next_step="use the client id that `fleet server status` shows; its grant type must be Device Code",
    )


class _Poll:
    """The token endpoint, asked at the issuer's interval."""

    def __init__(self, http: httpx.Client, found: idp.Discovery, client_id: str, asked: _Authorization) -> None:
        self._http, self._found, self._interval = http, found, asked.interval
        self._form = {"grant_type": GRANT, "client_id": client_id, "device_code": asked.device_code}

    def until(self, deadline: float, clock: Clock) -> AccessToken:
        """Ask until there is an answer; see `device_login` for what it raises."""
        while True:
            clock.sleep(max(0.0, min(self._interval, deadline - clock.now())))
            asked_at = time.monotonic()
            try:
                answer = in_time(WHOLE, lambda: self._http.post(self._found.token_endpoint, data=self._form))
            except (httpx.TimeoutException, Overdue):
                # Section 3.5 asks for exponential back-off when the connection times out.
                self._interval *= 2
                answer = None
            except httpx.HTTPError as error:
                raise idp.unreachable(self._found.issuer, error, time.time()) from error
            if answer is not None and answer.status_code == 200:
                return granted(answer.content, asked_at, self._found.issuer)
            if answer is not None:
                self._heed(answer)
            if clock.now() >= deadline:
                raise TimedOut(
                    "nobody approved the login before its code expired",
                    next_step="run the command again, open the address it shows, and approve it there",
                )

    def _heed(self, answer: httpx.Response) -> None:
        refusal = idp.refusal(answer)
        code = refusal.error if refusal else ""
        if code == "authorization_pending":
            return
        if code == "slow_down":
            self._interval += _SLOWER
        elif code == "expired_token":
            raise TimedOut("the login's code expired before it was approved", next_step="run the command again")
        elif refusal is not None and answer.status_code < 500:
            raise NotPermitted(
                f"the login was denied ({code}: {refusal.error_description})",
                next_step="run the command again, and choose Allow; your user must be active in Zitadel",
            )
        else:
            raise idp.ill(self._found.issuer, answer)
