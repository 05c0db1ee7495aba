"""The routes of the page. All but signing in and out are GET, and none writes anything of the fleet.

`tests/web/test_routes.py` lists every one of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from fleet.contract.errors import FleetError, NotFound, NotPermitted
from fleet.contract.printable import one_line
from fleet.web.connections import CONNECTION, Connection
from fleet.web.destination import asked_for, sign_in_for
from fleet.web.pages import WHOLE, NotReadYet, Pages, Part
from fleet.web.sessions import Session, Sessions
from fleet.web.signin import SignIn
from fleet.web.store import Store
from fleet.web.streams import (
    FROM_THE_NEWEST,
    ROWS,
    DeviceFeed,
    Feed,
    Follow,
    RowsFeed,
    ScreenFeed,
    Streams,
    TailFeed,
    TooMany,
)

STATIC = Path(__file__).parent / "static"
_SCREENS = {"now": "Now", "devices": "Devices", "deployments": "Deployments", "tail": "Tail"}
NOT_SIGNED_IN = "you are not signed in: open this page in a browser, and sign in\n"
_WAYS_ON = (("/devices", "All devices"), ("/deployments", "All deployments"))
"""Where to go on from an object that is not there."""

Shown = Callable[[Request, Session], Awaitable[Response]]
Handler = Callable[[Request], Awaitable[Response]]


class _Static(StaticFiles):
    """Our own files; a browser asks each time whether they are still the same."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response


class Routes:
    """Answers requests of people who are signed in."""

    def __init__(self, store: Store, pages: Pages, sessions: Sessions, streams: Streams) -> None:
        """Show what is known."""
        self._store = store
        self._pages = pages
        self._sessions = sessions
        self._streams = streams
        self._turns = streams.turns

    def application(self, sign_in: SignIn) -> Starlette:
        """The whole application."""
        routes = [
            Route("/", self._only_viewers(self._now)),
            Route("/devices", self._only_viewers(self._list_of("devices", "devices.js"))),
            Route("/devices.json", self._only_viewers(self._rows)),
            Route("/devices/{name}", self._only_viewers(self._one("device", "/devices"))),
            Route("/deployments", self._only_viewers(self._list_of("deployments"))),
            Route("/deployments/{name}", self._only_viewers(self._one("deployment", "/deployments"))),
            Route("/deployments/{name}/devices", self._only_viewers(self._members)),
            Route("/tail", self._only_viewers(self._list_of("tail", "tail.js"))),
            Route("/events/{kind}", self._only_viewers(self._events)),
            Route("/events/{kind}/{name}", self._only_viewers(self._events)),
            *sign_in.routes(),
            Mount("/static", _Static(directory=STATIC)),
        ]
        handlers = {HTTPException: self._http_error, FleetError: self._fleet_error, Exception: self._http_error}
        app = Starlette(routes=routes, exception_handlers=handlers)
        # Its redirect would name the host that a request claims.
        app.router.redirect_slashes = False
        return app

    def _only_viewers(self, show: Shown) -> Handler:
        async def checked(request: Request) -> Response:
            session = self._sessions.find(request.cookies.get(self._sessions.cookie))
            if session is not None:
                _keep(request, session)
                return await show(request, session)
            if "text/html" not in request.headers.get("accept", ""):
                return PlainTextResponse(NOT_SIGNED_IN, status_code=401)
            asked = asked_for(request.scope.get("raw_path", b""), request.scope["query_string"])
            if request.headers.get("sec-fetch-site") == "cross-site":
                # A link on another site does not bring the strict cookie. From a page of ours it comes along.
                return HTMLResponse(self._pages.page("from_elsewhere", to=asked))
            return RedirectResponse(sign_in_for(asked), status_code=303)

        return checked

    async def _now(self, request: Request, session: Session) -> Response:
        return await self._list_of("now")(request, session)

    def _list_of(self, kind: str, extra: str = "") -> Shown:
        async def show(_: Request, session: Session) -> Response:
            here = "/" if kind == "now" else f"/{kind}"
            return await self._page(session, _SCREENS[kind], here, (kind, "", WHOLE), f"/events/{kind}", extra)

        return show

    def _one(self, kind: str, here: str) -> Shown:
        async def show(request: Request, session: Session) -> Response:
            name = request.path_params["name"]
            return await self._page(session, name, here, (kind, name, WHOLE), f"/events/{kind}/{name}")

        return show

    async def _members(self, request: Request, session: Session) -> Response:
        name, part = request.path_params["name"], _part(request)
        query = urlencode({"state": part.state, "from": part.start})
        title, events = f"Devices of {name}", f"/events/members/{name}?{query}"
        return await self._page(session, title, "/deployments", ("members", name, part), events)

    async def _page(
        self, session: Session, title: str, here: str, screen: tuple[str, str, Part], events: str, extra: str = ""
    ) -> Response:
        main = (await self._turns.take(session.subject, partial(self._pages.screen, *screen))).value
        if screen[0] == "devices":  # what changes from here on is new to this page
            events = f"{events}?after={self._streams.epoch}-{self._store.version}"
        text = self._pages.page(
            "screen",
            title=title,
            here=here,
            events=events,
            keepalive=self._streams.keepalive_interval,
            now=self._store.now(),
            extra=extra,
            main=main,
            session=session,
        )
        return HTMLResponse(text)

    async def _rows(self, _: Request, session: Session) -> Response:
        names = sorted(self._store.summaries)
        return StreamingResponse(self._all_rows(names, session.subject), media_type="application/json")

    async def _all_rows(self, names: list[str], user: str) -> AsyncGenerator[bytes]:
        """Their rows as JSON, a part at a time: the next one is made when the browser has taken those before.

        A row is as it is when it is made, and a device that goes meanwhile may be left out: the page's stream tells.
        """
        yield b'{"complete":%s,"rows":[' % msgspec.json.encode(self._store.complete)
        between = b""
        for first in range(0, len(names), ROWS):
            part = partial(self._encoded_rows, names[first : first + ROWS])
            if rows := (await self._turns.take(user, part)).value:
                yield between + rows
                between = b","
        yield b"]}"

    def _encoded_rows(self, names: list[str]) -> bytes:
        return msgspec.json.encode(self._store.rows(names))[1:-1]

    async def _events(self, request: Request, session: Session) -> Response:
        kind, name = request.path_params["kind"], request.path_params.get("name", "")
        feed, number, follow = await self._feed(kind, name, request, session)
        # A proxy that gathers what passes through would hold news back (nginx: X-Accel-Buffering).
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":  # it has no body, so it must not take the place of a stream
            return Response(headers=headers, media_type="text/event-stream")
        self._streams.acquire(session)
        stream = self._streams.run(session, feed, number, follow)
        return _Stream(stream, lambda: self._streams.release(session), headers)

    async def _feed(
        self, kind: str, name: str, request: Request, session: Session
    ) -> tuple[Feed, Callable[[], int], Follow | None]:
        known = self._store
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        if kind == "tail" and not name:
            tail = TailFeed(known, self._streams.resume_from(last, FROM_THE_NEWEST))
            return tail, lambda: tail.seen, None
        if kind == "devices" and not name:
            rows = RowsFeed(known, self._streams.resume_from(last, 0))
            return rows, lambda: rows.seen, None
        if (kind in {"now", "deployments"} and not name) or (kind in {"device", "deployment", "members"} and name):
            part = _part(request) if kind == "members" else WHOLE
            # Refused now, not in the midst of a stream.
            await self._turns.take(session.subject, partial(self._pages.screen, kind, name, part))
            render, heartbeats = partial(self._screen, kind, name, part), known.heartbeats
            version = partial(self._pages.version, kind, name)
            if kind == "device":
                feed = DeviceFeed(render, version, partial(heartbeats.last, name))
                return feed, lambda: known.version, partial(heartbeats.follow, name)
            return ScreenFeed(render, version), lambda: known.version, None
        raise HTTPException(404)

    def _screen(self, kind: str, name: str, part: Part) -> str:
        try:
            return self._pages.screen(kind, name, part)
        except NotFound as error:
            return self._pages.page("_gone", error=error)

    async def _http_error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        known = {404: "there is no such page", 405: "this page only shows"}
        told = FleetError(known.get(status, "this cannot be answered"), next_step="begin at the first screen")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            told = FleetError(
                "this page's server failed at that", next_step="read why in the log of the operator's pod"
            )
        answer = self._told(request, told, status)
        if isinstance(error, HTTPException) and error.headers:  # what a method that is not allowed must name
            answer.headers.update(error.headers)
        return answer

    async def _fleet_error(self, request: Request, error: Exception) -> Response:
        known = error if isinstance(error, FleetError) else FleetError("not foreseen", next_step="see the log")
        by_kind = {TooMany: 429, NotFound: 404, NotPermitted: 403}
        status = next((status for kind, status in by_kind.items() if isinstance(known, kind)), 503)
        return self._told(request, known, status)

    def _told(self, request: Request, error: FleetError, status: int) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(f"{one_line(error.what)}: {one_line(error.next_step)}\n", status_code=status)
        title = "Not found" if status == HTTPStatus.NOT_FOUND else "This did not work"
        href, to = next(
            (way for way in _WAYS_ON if request.url.path.startswith(f"{way[0]}/")), ("/", "What is wrong now")
        )
        session = self._sessions.find(request.cookies.get(self._sessions.cookie))
        known: dict[str, object] = {"session": session, "here": ""} if session is not None else {}
        if isinstance(error, NotReadYet):
            title, known["again"] = "Loading", True
        text = self._pages.page("message", title=title, error=error, href=href, text=to, **known)
        return HTMLResponse(text, status_code=status)


def _part(request: Request) -> Part:
    asked = request.query_params
    return Part(asked.get("state", ""), asked.get("from", ""))


def _keep(request: Request, session: Session) -> None:
    """Protect the request's connection from being closed for another one: its user may look."""
    connection = getattr(request.state, CONNECTION, None)
    if isinstance(connection, Connection):
        connection.authenticated(session.subject)


class _Stream(StreamingResponse):
    """A stream of events that is counted until it is over, however that comes about."""

    def __init__(self, stream: object, left: Callable[[], None], headers: dict[str, str]) -> None:
        super().__init__(stream, media_type="text/event-stream", headers=headers)  # type: ignore[arg-type]
        self._left = left

    async def __call__(self, scope: Scope, receive: object, send: object) -> None:
        try:
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]
        finally:
            self._left()
