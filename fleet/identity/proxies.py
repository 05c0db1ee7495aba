"""The proxies that the environment names on the way to the identity provider.

httpx reads them itself: HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, in either case, and NO_PROXY. It makes a connection pool
for each of them, also for one that the request at hand does not use.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from fleet.contract.errors import InvalidInput

_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def check_proxies() -> None:
    """Refuse a proxy that httpx cannot use.

    Raises:
        InvalidInput: a variable holds no URL, or one of another kind of proxy, such as SOCKS. Its value is not shown,
            since it may hold a password.
    """
    for name in (spelling for variable in _VARIABLES for spelling in (variable, variable.lower())):
        url = os.environ.get(name, "")
        if url and not _usable(url):
            raise InvalidInput(
                f"{name} names no HTTP proxy, and other kinds (such as SOCKS) are not supported",
                next_step=f"set {name} to http://HOST:PORT, or unset it",
            )


def proxy_for(url: str) -> str:
    """`HOST:PORT` of the proxy through which a request to `url` goes; empty for none."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - only errors need it

    target, proxies = urlsplit(url), getproxies()
    found = proxies.get(target.scheme) or proxies.get("all") or ""
    if not found or proxy_bypass(target.netloc):
        return ""
    parts = urlsplit(_with_scheme(found))
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(_with_scheme(url))
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"http://{url}"
