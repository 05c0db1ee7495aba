"""Proof, at the end of an enrollment, that the device's identity works: a token with the project's role."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from fleet.contract.config import DEVICE_ROLE, FleetDeviceAuth
from fleet.contract.errors import NotPermitted, TimedOut, Unreachable
from fleet.contract.parsing import NOT_JSON
from fleet.identity.access_token import AccessToken
from fleet.identity.tokens import fetch_token
from fleet.process.retry import retrying


def wait_for_token(
    auth: FleetDeviceAuth, *, timeout: float = 30, refused: Callable[[], object] = lambda: None
) -> AccessToken:
    """Get a token that carries the device role, asking again while Zitadel's projections catch up.

    A key or grant that was just created may not work for seconds. `timeout` is in seconds;
    `refused` is called after every refusal, and may raise to give up.

    Raises:
        InvalidInput: the issuer, its CA or the key is wrong; more time would not help.
        TimedOut: no such token in time; the message carries the last answer.
    """
    # Not to be called from a running event loop: it is for the command line.
    try:
        return retrying(timeout=timeout, longest_pause=2)((NotPermitted, Unreachable), _attempt, auth, refused)
    except (NotPermitted, Unreachable) as last:
        raise TimedOut(
            f"the new identity does not work after {timeout:g} s: {last.what}", next_step=last.next_step
        ) from last


def _attempt(auth: FleetDeviceAuth, refused: Callable[[], object]) -> AccessToken:
    try:
        token = asyncio.run(fetch_token(auth))
    except NotPermitted:
        refused()
        raise
    if DEVICE_ROLE not in roles(token.text, auth.project):
        raise NotPermitted(
            f"tokens of user {auth.machine_key.user_id} lack the role {DEVICE_ROLE!r} of project {auth.project}",
            next_step="grant the role to the user in Zitadel; are the user's access tokens JWTs?",
        )
    return token


def roles(token: str, project: str) -> frozenset[str]:
    """The project's roles that a JWT claims. Nothing is verified: it comes straight from the issuer."""
    try:
        claims = msgspec.json.decode(jws.extract_compact(token.encode()).payload, type=dict[str, msgspec.Raw])
        return frozenset(
            msgspec.json.decode(
                claims.get(f"urn:zitadel:iam:org:project:{project}:roles", msgspec.Raw(b"{}")),
                type=dict[str, msgspec.Raw],
            )
        )
    except (JoseError, *NOT_JSON):
        return frozenset()
