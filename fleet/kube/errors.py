"""What the API server's refusals mean to a process that lives beside it: the operator and the web page."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Generator
from http import HTTPStatus

import aiohttp
import msgspec

from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, NotPermitted, Unreachable
from fleet.contract.parsing import NOT_JSON
from fleet.process.failures import in_words

_LONGEST_PAUSE = 60.0
"""Seconds of a `Retry-After` that are obeyed."""


class ServerError(FleetError):
    """The API server answered that it did not do it: 429 or 5xx.

    It may be this one object, which etcd refuses for its size, or all of them. `pause` is in seconds what the server
    asks to be left alone for; 0 when it asks for nothing.
    """

    def __init__(self, what: str, *, next_step: str, pause: float = 0) -> None:
        super().__init__(what, next_step=next_step)
        self.pause = pause


class VersionExpiredError(FleetError):
    """The version to watch from is older than what the API server keeps (HTTP 410): list again."""


_REFUSALS: dict[int, tuple[type[FleetError], str]] = {
    HTTPStatus.UNAUTHORIZED: (NotPermitted, "give its account a new token"),
    HTTPStatus.FORBIDDEN: (NotPermitted, "install again: it restores the account's Role"),
    HTTPStatus.NOT_FOUND: (NotFound, "install again, if it is the kind that is missing"),
    HTTPStatus.CONFLICT: (Conflict, "read it again"),
    HTTPStatus.GONE: (VersionExpiredError, "list again"),
    HTTPStatus.UNPROCESSABLE_ENTITY: (InvalidInput, "see the message"),
    HTTPStatus.BAD_REQUEST: (InvalidInput, "see the message"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (InvalidInput, "see the message"),
}


class Status(msgspec.Struct):
    """A refusal's body, as far as we read it."""

    message: str = ""
    code: int = 0


@contextlib.contextmanager
def unreachable() -> Generator[None]:
    """Raise `Unreachable` for whatever keeps the API server from answering."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
        raise Unreachable(f"the API server does not answer: {in_words(error)}", next_step="is it up?") from error


def refusal(what: str, status: int, answer: bytes, pause: float) -> FleetError:
    """The error that a refusal of `what` means; `pause` is its `Retry-After` in seconds."""
    try:
        message = msgspec.json.decode(answer, type=Status).message
    except NOT_JSON:
        message = ""
    message = message or f"{what}: HTTP {status}"
    if status in _REFUSALS:
        kind, next_step = _REFUSALS[status]
        return kind(message, next_step=next_step)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return ServerError(message, next_step="is the API server well?", pause=min(pause, _LONGEST_PAUSE))
    return InvalidInput(message, next_step="see the message")
