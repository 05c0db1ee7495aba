"""Personal access tokens of a machine user at Zitadel: the secrets that an admin's token file holds."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import msgspec

from fleet.contract.errors import NotFound, NotPermitted
from fleet.identity import zitadel_wire as wire
from fleet.identity.zitadel_api import Api

NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""When a token ends that has no end."""


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    creation_date: str = ""


class PersonalToken(msgspec.Struct, frozen=True, rename="camel"):
    """A token as it is listed, without its text."""

    id: str
    expiration_date: str = ""
    details: _Details = _Details()

    @property
    def ends(self) -> datetime:
        """When it ends."""
        return _moment(self.expiration_date) or NEVER

    @property
    def made(self) -> datetime | None:
        """When it was made, where that is said."""
        return _moment(self.details.creation_date)


class AddedToken(msgspec.Struct, frozen=True, rename="camel"):
    """`POST /users/{id}/pats`; `token` is a secret, and shown only there."""

    token_id: str
    token: str

    def __repr__(self) -> str:
        return f"AddedToken(token_id={self.token_id!r}, token=...)"


class _Found(msgspec.Struct, frozen=True):
    result: tuple[PersonalToken, ...] = ()


def listed(api: Api, user: str) -> tuple[PersonalToken, ...]:
    """The tokens of a machine user (by id), as far as the projections show them; raises what `Api.call` does."""
    return api.call("POST", f"/users/{user}/pats/_search", {}, _Found).result


def add(api: Api, user: str, ends: datetime) -> AddedToken:
    """A new token of a machine user (by id); raises what `Api.call` does."""
    body = {"expirationDate": ends.astimezone(UTC).isoformat().replace("+00:00", "Z")}
    return api.call("POST", f"/users/{user}/pats", body, AddedToken)


def remove(api: Api, user: str, token_id: str) -> None:
    """Remove a token; nothing if it is gone. Raises what `Api.call` does."""
    with contextlib.suppress(NotFound):
        api.call("DELETE", f"/users/{user}/pats/{token_id}", None, wire.Done)


def is_accepted(api: Api) -> bool:
    """Whether the connection's token opens anything: at the user info endpoint, or at the management API."""
    try:
        api.subject()
    except NotPermitted:
        return is_admin(api)
    return True


def is_admin(api: Api) -> bool:
    """Whether the connection's token is accepted by the management API."""
    try:
        api.call("GET", "/orgs/me", None, wire.Mine)
    except NotPermitted:
        return False
    return True


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        return None
