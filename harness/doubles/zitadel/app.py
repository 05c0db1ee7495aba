"""The double as an ASGI application: routes, faults, and one audit line per call."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from harness.doubles.zitadel import authorize, control, device, grants, metadata, oidc, pats, projects, users
from harness.doubles.zitadel.call import Call, Handler, endpoint, http_date
from harness.doubles.zitadel.guard import require_admin
from harness.doubles.zitadel.modes import Fault, Modes
from harness.doubles.zitadel.store import Store

Json = dict[str, Any]
Audit = Callable[[Json], None]

_OPEN: list[tuple[str, str, Handler]] = [
    ("GET", "/.well-known/openid-configuration", oidc.discovery),
    ("GET", "/oauth/v2/keys", oidc.keys),
    ("GET POST", "/oauth/v2/token", oidc.token),
    ("POST", "/oauth/v2/introspect", oidc.introspect),
    ("POST", "/oauth/v2/device_authorization", device.authorize),
    ("GET POST", "/oidc/v1/userinfo", oidc.userinfo),
    ("GET", "/oauth/v2/authorize", authorize.page),
    ("POST", "/oauth/v2/authorize", authorize.decide),
    ("GET", "/device", device.page),
    ("POST", "/device", device.decide),
]
_USER = "/users/{user}"
_PROJECT = "/projects/{project}"
_MANAGEMENT: list[tuple[str, str, Handler]] = [
    ("GET", "/orgs/me", projects.my_org),
    ("POST", "/users/machine", users.add_machine),
    ("POST", "/users/_search", users.search_users),
    ("POST", "/users/grants/_search", grants.search_grants),
    ("GET", _USER, users.get_user),
    ("DELETE", _USER, users.remove_user),
    *(("POST", f"{_USER}/{change}", users.change_state) for change in users.CHANGES),
    ("POST", f"{_USER}/keys", users.add_key),
    ("POST", f"{_USER}/keys/_search", users.search_keys),
    ("DELETE", f"{_USER}/keys/{{key}}", users.remove_key),
    ("POST", f"{_USER}/pats", pats.add),
    ("POST", f"{_USER}/pats/_search", pats.search),
    ("DELETE", f"{_USER}/pats/{{pat}}", pats.remove),
    ("POST", f"{_USER}/metadata/{{key}}", metadata.set_metadata),
    ("GET", f"{_USER}/metadata/{{key}}", metadata.get_metadata),
    ("POST", f"{_USER}/grants", grants.add_grant),
    ("PUT", f"{_USER}/grants/{{grant}}", grants.update_grant),
    ("DELETE", f"{_USER}/grants/{{grant}}", grants.remove_grant),
    ("POST", f"{_USER}/grants/{{grant}}/_deactivate", grants.change_grant),
    ("POST", f"{_USER}/grants/{{grant}}/_reactivate", grants.change_grant),
    ("POST", "/projects", projects.add_project),
    ("POST", "/projects/_search", projects.search_projects),
    ("POST", f"{_PROJECT}/roles", projects.add_role),
    ("POST", f"{_PROJECT}/roles/_search", projects.search_roles),
    ("POST", f"{_PROJECT}/apps/oidc", projects.add_oidc_app),
    ("POST", f"{_PROJECT}/apps/api", projects.add_api_app),
    ("POST", f"{_PROJECT}/apps/_search", projects.search_apps),
]


def to_stderr(line: Json) -> None:
    """The audit log: one JSON line, with the fields that every part's log has."""
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")
    sys.stderr.flush()


class Double:
    """The application. `modes` may be set by the caller that runs it in its own process."""

    def __init__(self, store: Store, audit: Audit = to_stderr, modes: Modes | None = None) -> None:
        """`audit` gets every call, without secrets: no bodies, queries or headers. `modes` are the first ones."""
        self.store, self.audit = store, audit
        self._initial = modes or Modes()
        self.modes = replace(self._initial)
        self.calls: Counter[str] = Counter()
        self._app = Starlette(
            routes=self._routes(), exception_handlers={HTTPException: _unrouted, Exception: _internal}
        )

    def _routes(self) -> list[Route]:
        steering: list[tuple[str, str, Handler]] = [
            ("GET", "/modes", control.show_modes),
            ("PATCH", "/modes", self._patch_modes),
            ("DELETE", "/modes", self._reset_modes),
            ("GET", "/calls", self._count),
            ("POST", "/keys/rotate", control.rotate_keys),
            ("DELETE", "/keys/inactive", control.withdraw_inactive),
        ]
        return [
            Route("/debug/ready", _ready),
            *(self._route(*row) for row in _OPEN),
            *(self._route(verb, f"/management/v1{path}", _after(require_admin, do)) for verb, path, do in _MANAGEMENT),
            *(
                self._route(verb, f"/_double{path}", _after(control.require_main_admin, do))
                for verb, path, do in steering
            ),
        ]

    def _route(self, methods: str, path: str, handler: Handler) -> Route:
        return Route(path, endpoint(handler, self.store, lambda: self.modes), methods=methods.split())

    async def _patch_modes(self, call: Call) -> Json:
        self.modes = await control.parse_modes(call)
        return msgspec.to_builtins(self.modes)

    async def _reset_modes(self, _: Call) -> Json:
        self.modes = replace(self._initial)
        return msgspec.to_builtins(self.modes)

    async def _count(self, _: Call) -> Json:
        return dict(self.calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started, path, method = time.monotonic(), scope["path"], scope["method"]
        scope["state"] = {}
        status = 0

        async def dated(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"date", http_date(self.modes).encode()))
            await send(message)

        self.calls[f"{method} {path}"] += 1
        fault = None
        if not path.startswith("/_double/"):
            await asyncio.sleep(self.modes.latency)
            fault = self.modes.take_fault(path)
        if fault is None:
            await self._app(scope, receive, dated)
        elif fault.hang:
            await _hang(receive)
        else:
            await _planted(fault)(scope, receive, dated)
        self.audit(_line(scope, fault, status, time.monotonic() - started))


def _line(scope: Scope, fault: Fault | None, status: int, seconds: float) -> Json:
    state = scope["state"]
    return {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "level": "info" if status < 500 else "warning",
        "part": "zitadel",
        "event": "call",
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "seconds": round(seconds, 4),
        "caller": state.get("caller", ""),
        "outcome": state.get("outcome", ""),
        "why": state.get("why", ""),
        "planted": fault is not None,
    }


def _after(check: Callable[[Call], Any], handler: Handler) -> Handler:
    async def checked(call: Call) -> Json | Response:
        await check(call)
        return await handler(call)

    return checked


async def _hang(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _planted(fault: Fault) -> Response:
    return JSONResponse({"code": 14, "message": "planted by the double's modes"}, fault.status)


async def _ready(_: Request) -> Response:
    return JSONResponse({})


async def _unrouted(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    body = {404: {"code": 5, "message": "Not Found"}, 405: {"code": 12, "message": "Method Not Allowed"}}
    return JSONResponse(body.get(status, {"code": 3, "message": "Bad Request"}), status)


async def _internal(request: Request, error: Exception) -> Response:
    request.state.outcome = f"{type(error).__name__}: {error}"
    return JSONResponse({"code": 13, "message": "An internal error occurred"}, 500)
