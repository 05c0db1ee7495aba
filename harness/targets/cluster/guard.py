"""The proxy between a run and a shared cluster: all requests of the run pass through it.

The fleet command, kubectl and the harness' own probes get a kubeconfig of this door, on 127.0.0.1 and with a token of
its own. It asks `policy` about each request, marks what is made, and writes down what it refused.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from harness.errors import Misused
from harness.processes.asgi import serving
from harness.processes.spec import write_atomic
from harness.targets.certificates import Authority
from harness.targets.cluster import policy
from harness.targets.cluster.policy import Forbidden, Rules, Target, Verdict
from harness.targets.cluster.upstream import HOST
from harness.targets.control_plane import render_kubeconfig

_log = logging.getLogger("fleet.guard")
_HOP = frozenset({"host", "authorization", "connection", "content-length", "transfer-encoding", "upgrade"})
"""Headers that belong to one connection, or to our own door."""


class Guard:
    """The application. `unfit` says why nothing may be written any more; empty while it may."""

    def __init__(self, socket: Path, rules: Rules, unfit: Callable[[], str]) -> None:
        """Sit before the API server that `socket` leads to."""
        self.token = secrets.token_urlsafe(24)
        self._rules = rules
        self._unfit = unfit
        # A watch may be silent for as long as nothing happens.
        limit = httpx.Timeout(20, read=None)
        transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=False)
        self._http = httpx.AsyncClient(transport=transport, base_url=HOST, timeout=limit, trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; at the end of the server, end the connections."""
        if scope["type"] == "http":
            response = await self._answer(Request(scope, receive))
            await response(scope, receive, send)
        elif scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._http.aclose()
            await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: Request) -> Response:
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {self.token}".encode()):
            return _refusal(401, "Unauthorized", "this is the door of a test run, and you are not part of it")
        try:
            return await self._pass(request)
        except (Forbidden, Misused) as error:
            _log.warning("refused: %s %s: %s", request.method, request.url.path, error)
            return _refusal(403, "Forbidden", f"the harness refuses to send this: {error}")
        except httpx.HTTPError as error:
            return _refusal(
                503, "ServiceUnavailable", f"the API server does not answer: {type(error).__name__} {error}"
            )

    async def _pass(self, request: Request) -> Response:
        verdict, target = policy.judge(self._rules, request.method, request.url.path)
        body = await request.body()
        if verdict is not Verdict.SEND:
            if reason := self._unfit():
                raise Forbidden(reason)
            if verdict is Verdict.OWN:
                policy.check_owner(self._rules, target, await self._held(target))
            if request.method != "DELETE":
                body = policy.marked(self._rules, body, request.headers.get("content-type", ""))
        return await self._send(request, body)

    async def _held(self, target: Target) -> policy.Json | None:
        path = f"/apis/{policy.API_VERSION}/namespaces/{self._rules.namespace}/{target.plural}/{target.name}"
        answer = await self._http.get(path)
        if answer.status_code == 404:
            return None
        if answer.is_error:
            raise Forbidden(f"cannot tell whose {target.plural}/{target.name} is: {answer.text[:300]}")
        return answer.json()

    async def _send(self, request: Request, body: bytes) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        url = httpx.URL(HOST).copy_with(raw_path=request.url.path.encode() + b"?" + request.url.query.encode())
        forwarded = self._http.build_request(request.method, url, headers=headers, content=body)
        answer = await self._http.send(forwarded, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP}
        return StreamingResponse(
            _chunks(answer), answer.status_code, headers=kept, background=BackgroundTask(answer.aclose)
        )


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for chunk in answer.aiter_raw():
        yield chunk


@contextlib.contextmanager
def guarded(socket: Path, rules: Rules, unfit: Callable[[], str], folder: Path) -> Generator[Path]:
    """Runs the proxy during the `with`; yields the kubeconfig for it."""
    authority = Authority(folder / "guard")
    guard = Guard(socket, rules, unfit)
    kubeconfig = folder / "guard" / "kubeconfig"
    with serving(guard, authority.issue("guard"), "guard", lifespan=True) as port:
        write_atomic(kubeconfig, render_kubeconfig(f"https://localhost:{port}", authority.certificate, guard.token))
        yield kubeconfig


def _refusal(code: int, reason: str, message: str) -> JSONResponse:
    """As the API server says it (`metav1.Status`), so that every client shows the message."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return JSONResponse({**status, "code": code}, code)
