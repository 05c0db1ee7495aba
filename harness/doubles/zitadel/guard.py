"""Authorization of the management API, and the small types that its answers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from harness.doubles.zitadel import tokens
from harness.doubles.zitadel.call import Call
from harness.doubles.zitadel.errors import INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED, ApiError
from harness.doubles.zitadel.records import NEVER, Record, User

Json = dict[str, Any]
Text = Annotated[str, msgspec.Meta(max_length=200)]


async def require_admin(call: Call) -> None:
    """Let only administrators pass, with a token that is meant for Zitadel's own API.

    Raises:
        ApiError: 16 without a valid token, 7 with one that does not suffice.
    """
    scheme, _, text = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise ApiError(UNAUTHENTICATED, "auth header missing")
    token = await tokens.find(call, text)
    if token is None or call.instance.own_project not in token.audience:
        raise ApiError(UNAUTHENTICATED, "Errors.Token.Invalid", "AUTH-7fs1e")
    call.caller = call.instance.users[token.user]
    organisation = call.request.headers.get("x-zitadel-orgid", call.instance.organisation.id)
    if not call.caller.admin or organisation != call.instance.organisation.id:
        raise ApiError(PERMISSION_DENIED, "No matching permissions found", "AUTH-5mWD2")


def user_of(call: Call) -> User:
    """The user that the path names."""
    user = call.instance.users.get(call.param("user"))
    if user is None:
        raise ApiError(NOT_FOUND, "User could not be found", "COMMAND-5M0sd")
    return user


def details(call: Call, record: Record) -> Json:
    """The event-store details of a record."""
    return {
        "sequence": str(record.sequence),
        "creationDate": timestamp(record.created),
        "changeDate": timestamp(record.changed),
        "resourceOwner": call.instance.organisation.id,
    }


def timestamp(seconds: float) -> str:
    """Unix seconds as protobuf's JSON has them."""
    if seconds >= NEVER:
        return "9999-12-31T23:59:59Z"
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def expiry(call: Call, text: str) -> float:
    """An `expirationDate` in Unix seconds; none given means never.

    Raises:
        ApiError: not a time, or one in the past.
    """
    if not text:
        return NEVER
    try:
        seconds = datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise ApiError(INVALID_ARGUMENT, "proto: invalid google.protobuf.Timestamp value") from error
    if seconds <= call.now:
        raise ApiError(INVALID_ARGUMENT, "Expiration date can not be in the past", "DOMAIN-dv3t5")
    return min(math.floor(seconds), NEVER)


def required(value: str, field: str) -> str:
    """A text that must not be empty."""
    if not value.strip():
        raise ApiError(INVALID_ARGUMENT, f"invalid {field}: value length must be between 1 and 200 runes, inclusive")
    return value


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """`query` of a search: which part of the result. Protobuf's JSON has 64-bit numbers as text or number."""

    offset: int | str = 0
    limit: int | str = 0


class Search(msgspec.Struct):
    """The body of every `_search`."""

    query: Page = Page()
    queries: list[dict[str, Json]] = []


def select(search: Search, rows: Iterable[tuple[dict[str, str], Json]]) -> tuple[list[Json], int]:
    """The rows that all queries accept, cut to the page, and how many there are.

    A row comes with the values that each kind of query looks at. A query is `{"<kind>Query": {"<field>": text,
    "method": "TEXT_QUERY_METHOD_..."}}`; ids have no method.

    Raises:
        ApiError: a query of a kind or method that the call does not know.
    """
    matching = [shown for values, shown in rows if all(_accepts(query, values) for query in search.queries)]
    try:
        offset, limit = int(search.query.offset), int(search.query.limit) or 100
    except ValueError as error:
        raise ApiError(INVALID_ARGUMENT, "proto: invalid value for uint64 field") from error
    if offset < 0 or limit < 0:
        raise ApiError(INVALID_ARGUMENT, "proto: invalid value for uint64 field")
    return matching[offset : offset + limit], len(matching)


_METHODS: dict[str, Callable[[str, str], bool]] = {
    "EQUALS": str.__eq__,
    "STARTS_WITH": str.startswith,
    "CONTAINS": str.__contains__,
    "ENDS_WITH": str.endswith,
}


def _accepts(query: dict[str, Json], values: dict[str, str]) -> bool:
    kind = next(iter(query), "")
    if kind not in values or len(query) != 1:
        raise ApiError(INVALID_ARGUMENT, "List.Query.Invalid", "QUERY-fG6jk")
    fields, have = query[kind], values[kind]
    want = fields.get(kind.removesuffix("Query"), "")
    method = str(fields.get("method", "TEXT_QUERY_METHOD_EQUALS")).removeprefix("TEXT_QUERY_METHOD_")
    if method.endswith("_IGNORE_CASE"):
        method, want, have = method.removesuffix("_IGNORE_CASE"), str(want).lower(), have.lower()
    if method not in _METHODS or not isinstance(want, str):
        raise ApiError(INVALID_ARGUMENT, "proto: invalid value for enum or string field")
    return _METHODS[method](have, want)


def result(call: Call, rows: Iterable[tuple[dict[str, str], Json]], search: Search) -> Json:
    """The answer to a `_search`. As everywhere in protobuf's JSON, what is empty or zero is left out."""
    page, total = select(search, rows)
    about: Json = {"processedSequence": str(call.instance.sequence), "viewTimestamp": timestamp(call.now)}
    if total:
        about["totalResult"] = str(total)
    return {"details": about, **({"result": page} if page else {})}
