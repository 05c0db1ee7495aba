"""What may stand in an address of OpenBao."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec

_LONGEST_NAME, _LONGEST_LABEL = 253, 63
"""Characters of a host's name, and of what stands between its dots (RFC 1035)."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
SEGMENTS = r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"
Segments = Annotated[str, msgspec.Meta(max_length=512, pattern=rf"\A{SEGMENTS}\Z")]
"""Names with slashes between them, as part of a URL's path; none begins with a dot."""
Role = Annotated[str, msgspec.Meta(max_length=512, pattern=r"\A[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")]


def is_address(url: str) -> bool:
    """Whether it is the URL of a server alone: over HTTPS, or over HTTP on this machine."""
    try:
        parts = urlsplit(url)
        good = (
            _is_host(parts.hostname or "")
            and parts.port != 0
            and url.isascii()
            and url.isprintable()
            and " " not in url
        )
        good = good and parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
        good = good and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))
    except ValueError:
        good = False
    return good


def _is_host(name: str) -> bool:
    """Whether a name can be looked up: a resolver raises for another one, and what asks it would end."""
    labels = name.removesuffix(".").split(".")
    return len(name) <= _LONGEST_NAME and (":" in name or all(0 < len(label) <= _LONGEST_LABEL for label in labels))
