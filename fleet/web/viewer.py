"""Whether a token lets somebody look: its signature, its issuer, its project, its time and its role."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from fleet.callout.decide import CLOCK_LEEWAY, Claims, Deny
from fleet.callout.tokens import Tokens
from fleet.contract.config import VIEWER_ROLE, WebPage
from fleet.contract.errors import NotPermitted, Unreachable


class Viewers:
    """Judges tokens. They come from the provider's own token endpoint, and are judged as if they came from anywhere."""

    def __init__(self, tokens: Tokens, page: WebPage, now: Callable[[], float] = time.time) -> None:
        """`now` is in Unix seconds."""
        self._tokens = tokens
        self._page = page
        self._now = now

    async def admit(self, token: str) -> Claims:
        """Who the token is of.

        Raises:
            NotPermitted: it is forged, foreign, expired or without the role; the message says which.
            Unreachable: the provider's keys cannot be had.
        """
        claims = await self._verified(token)
        if why := refused(claims, self._page.issuer, self._page.project_id, self._now()):
            raise why
        return claims

    async def check_identity(self, token: str, nonce: str) -> None:
        """Check that an ID token answers the sign-in that sent this nonce (OpenID Connect Core 1.0, section 3.1.3.7).

        Raises:
            NotPermitted: it does not, or there is none.
            Unreachable: the provider's keys cannot be had.
        """
        claims = await self._verified(token)
        ours = claims.issuer == self._page.issuer and self._page.client_id in claims.audience
        if (
            not ours
            or claims.expires <= self._now()
            or not nonce
            or not secrets.compare_digest(claims.nonce.encode(errors="replace"), nonce.encode())
        ):
            raise NotPermitted("the identity provider answered another sign-in", next_step="sign in again")

    async def _verified(self, token: str) -> Claims:
        claims = await self._tokens.verify(token)
        if isinstance(claims, Deny):
            if claims.reason.value == "keys_unavailable":
                raise Unreachable("the identity provider's keys cannot be had", next_step="try again later")
            raise NotPermitted(f"the token is not good ({claims.reason.value})", next_step="sign in again")
        return claims


def refused(claims: Claims, issuer: str, project: str, now: float) -> NotPermitted | None:
    """Why a token with a good signature lets nobody look; None when it does. `now` is Unix seconds."""
    if claims.issuer != issuer:
        return NotPermitted("the token is of another issuer", next_step="sign in again")
    # Anybody can have any project in the audience (zitadel#9515): the role below is what counts.
    if project not in claims.audience:
        return NotPermitted("the token is for another project", next_step="sign in again")
    if claims.expires <= now:
        return NotPermitted("the token has expired", next_step="sign in again")
    if max(claims.not_before, claims.issued) > now + CLOCK_LEEWAY:
        return NotPermitted("the token is not valid yet: the clocks differ", next_step="set the server's clock")
    if VIEWER_ROLE not in claims.roles:
        return NotPermitted(
            f"you are signed in, but you lack the role {VIEWER_ROLE}",
            next_step=f"ask an administrator of the identity provider for the role {VIEWER_ROLE} of the project "
            f"{project}, then sign in again",
        )
    return None
