"""What is said to a connection that brings no request: what is wrong with it, and what to do."""

from __future__ import annotations

from http import HTTPStatus

from fleet.web.guard import CACHE, HEADERS

_BEGIN = "open the page's address in a browser"
_TEXTS = {
    HTTPStatus.BAD_REQUEST: f"this is no HTTP request: {_BEGIN}",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "the address, or the headers with the cookies, are too long: "
    "shorten the address, or delete this site's cookies",
    HTTPStatus.NOT_IMPLEMENTED: f"the request's body comes in a way that this page does not read: {_BEGIN}",
}
_HTTPS_ONLY = "this page speaks HTTPS only: begin its address with https://\n"
TLS_RECORDS = frozenset({0x14, 0x15, 0x16, 0x17, 0x80})
"""First bytes of TLS (RFC 8446, section 5.1), and of clients that begin as SSL 2 did (RFC 5246, appendix E.2)."""


def refusal(hint: int) -> tuple[HTTPStatus, str]:
    """The status and the text for bytes that are no request; `hint` is the status that the parser suggests."""
    status = HTTPStatus(hint) if hint in _TEXTS else HTTPStatus.BAD_REQUEST
    return status, f"{_TEXTS[status]}\n"


def headers(text: str) -> list[tuple[bytes, bytes]]:
    """Those of an answer after which the connection ends."""
    own = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": f"{len(text.encode())}",
        "Connection": "close",
        CACHE: "no-store",
    }
    return [(name.encode(), value.encode()) for name, value in (HEADERS | own).items()]


def without_tls() -> bytes:
    """The whole answer to a client that begins in clear."""
    status = HTTPStatus.BAD_REQUEST
    head = b"".join(b"%s: %s\r\n" % header for header in headers(_HTTPS_ONLY))
    return f"HTTP/1.1 {status} {status.phrase}\r\n".encode() + head + b"\r\n" + _HTTPS_ONLY.encode()
