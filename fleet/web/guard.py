"""What holds for every answer and every request, whatever the route: headers, and where a request comes from."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""On every answer. No Strict-Transport-Security: a page that was forwarded to localhost would claim all its ports.

The referrer stays within the site, and is not left out: a browser that may not tell it sends a form's origin as `null`.
"""
CACHE = "Cache-Control"
_FOREIGN = "this request comes from another site, and is refused: open this page itself, and do it there\n"
_SAFE = {"GET", "HEAD"}
PIECE = 32 * 1024
"""Bytes of an answer that are handed over at once. The next ones wait until the browser took some: TLS would keep a
copy of a whole answer for one that reads nothing."""


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault(CACHE, "no-store")
            body, sent = message.get("body", b""), 0
            while len(body) - sent > PIECE:
                await send({"type": message["type"], "body": body[sent : sent + PIECE], "more_body": True})
                sent += PIECE
            await send({**message, "body": body[sent:]} if sent else message)

        if scope["method"] not in _SAFE and not from_here(scope):
            refused = PlainTextResponse(_FOREIGN, status_code=403)
            await refused(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def from_here(scope: Scope) -> bool:
    """Whether a page of ours sent the request (Fetch Metadata; RFC 6454, section 7, where a browser has none)."""
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = headers.get("origin")
    return origin == f"{scope['scheme']}://{headers.get('host', '')}"
