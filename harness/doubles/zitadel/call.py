"""One call: who asks what of which instance."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from harness.doubles.zitadel.errors import INVALID_ARGUMENT, ApiError, OAuthError, Refusal, UnknownHost
from harness.doubles.zitadel.modes import Modes
from harness.doubles.zitadel.records import Instance, User
from harness.doubles.zitadel.store import Store

Json = dict[str, Any]
T = TypeVar("T")

_MAX_BODY = 1024 * 1024
"""Bytes of a request; more is refused before it is read whole."""


class Call:
    """A request, the instance its Host names, and the double's clock and modes."""

    def __init__(self, request: Request, instance: Instance, store: Store, modes: Modes) -> None:
        """`caller` is filled in by the authentication; the audit log shows it."""
        self.request, self.instance, self.store, self.modes = request, instance, store, modes
        self.issuer = f"{request.url.scheme}://{request.headers['host']}"
        self.caller: User | None = None

    @property
    def now(self) -> float:
        """Unix seconds of the double's clock."""
        return time.time() + self.modes.clock_offset

    def param(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def visible(self, since: float) -> bool:
        """Whether the projections have caught up with something that becomes visible at `since`."""
        return not self.modes.lag or time.time() >= since

    def appears(self) -> float:
        """When something made now becomes visible."""
        return time.time() + self.modes.lag

    async def body(self) -> bytes:
        """The request's body."""
        data = bytearray()
        async for chunk in self.request.stream():
            data += chunk
            if len(data) > _MAX_BODY:
                raise ApiError(INVALID_ARGUMENT, f"the body is larger than {_MAX_BODY} bytes")
        return bytes(data)

    async def json(self, kind: type[T]) -> T:
        """The body as protobuf's JSON: unknown fields are dropped, an empty body is an empty message."""
        try:
            return msgspec.json.decode(await self.body() or b"{}", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(INVALID_ARGUMENT, f"proto: {error}") from error

    async def form(self) -> dict[str, str]:
        """The fields of an urlencoded form; anything else has none."""
        if not self.request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return {}
        try:
            return dict(parse_qsl((await self.body()).decode(), keep_blank_values=True, max_num_fields=100))
        except ValueError as error:
            raise OAuthError("invalid_request", "error parsing form") from error

    async def save(self) -> None:
        """Keep what this call changed; to be awaited before it is answered."""
        await self.store.save(self.instance)


Handler = Callable[[Call], Awaitable[Json | Response]]


def endpoint(handler: Handler, store: Store, modes: Callable[[], Modes]) -> Callable[[Request], Awaitable[Response]]:
    """A route's end: finds the instance, and turns results and refusals into answers."""

    async def answer(request: Request) -> Response:
        call = None
        try:
            call = Call(request, _instance(request, store), store, modes())
            result = await handler(call)
        except Refusal as refusal:
            request.state.outcome = str(refusal)
            return refusal.response()
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            request.state.caller = call.caller.id if call and call.caller else ""
        return result if isinstance(result, Response) else JSONResponse(result)

    return answer


def _instance(request: Request, store: Store) -> Instance:
    host = request.headers.get("host", "")
    instance = store.instances.get(host.rsplit(":", 1)[0])
    if instance is None:
        raise UnknownHost(host, next(iter(store.instances)))
    return instance


def http_date(modes: Modes) -> str:
    """The Date header by the double's clock."""
    return formatdate(time.time() + modes.clock_offset, usegmt=True)
