"""Who is signed in: kept in memory, by the digest of a random cookie; no token is kept."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable

import msgspec

COOKIE = "__Host-fleet-session"
"""How its name begins. The prefix has browsers demand `Secure`, the path `/` and no domain (RFC 6265bis, section
4.1.3.2)."""
_MOST = 1_000
"""Sessions at the same time; of the user with the most the one that ends first gives way."""
_BYTES = 32


class Session(msgspec.Struct, frozen=True):
    """Somebody who signed in. `expires` is Unix seconds: when the token does. `id` is for logs, and opens nothing."""

    id: str
    subject: str
    name: str
    expires: float


class Sessions:
    """All that are open."""

    def __init__(self, cookie: str = COOKIE, now: Callable[[], float] = time.time) -> None:
        """There are none. `cookie` is the name of theirs, `now` is in Unix seconds."""
        self.cookie = cookie
        self._now = now
        self._open: dict[str, Session] = {}

    def begin(self, subject: str, name: str, expires: float) -> tuple[str, Session]:
        """A session until `expires`; returns its cookie, a secret."""
        cookie = secrets.token_urlsafe(_BYTES)
        key = _key(cookie)
        self._open = {known: session for known, session in self._open.items() if session.expires > self._now()}
        if len(self._open) >= _MOST:
            held = Counter(session.subject for session in self._open.values())
            del self._open[
                min(self._open, key=lambda session: (-held[self._open[session].subject], self._open[session].expires))
            ]
        self._open[key] = Session(key[:12], subject, name, expires)
        return cookie, self._open[key]

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie, if it is open."""
        found = self._open.get(_key(cookie)) if cookie else None
        return found if found is not None and found.expires > self._now() else None

    def end(self, cookie: str | None) -> None:
        """Sign out."""
        if cookie:
            self._open.pop(_key(cookie), None)

    def is_open(self, session: Session) -> bool:
        """Whether it still is: not ended, not over."""
        return session.expires > self._now() and session in self._open.values()


def cookie_of(beginning: str, certificate: str) -> str:
    """The name of a cookie of the server with this certificate (PEM).

    A browser tells cookies apart by host, and not by port (RFC 6265, section 8.5): of two servers that are looked at
    by port-forward, signing in to one would end the session with the other.
    """
    return f"{beginning}-{hashlib.sha256(certificate.encode()).hexdigest()[:12]}"


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode(errors="replace")).hexdigest()
