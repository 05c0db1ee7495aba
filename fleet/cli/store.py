"""The stored login: `$XDG_CONFIG_HOME/fleet`, mode 0600, for one issuer at a time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.wire import decode, encode
from fleet.tokens import AccessToken
from fleet.topology.host import write_atomic

_MARGIN = 60
"""Seconds before its end from which on a token counts as expired."""


class _Login(msgspec.Struct, frozen=True):
    """Whose the stored token is, and until when it is good (Unix time in seconds)."""

    issuer: str
    expires: float


def store(issuer: str, token: AccessToken) -> Path:
    """Keep a login; returns the token's file."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    expires = time.time() + token.expires_at - time.monotonic()
    write_atomic(folder / "token", token.text.encode(), 0o600)
    write_atomic(folder / "login.json", encode(_Login(issuer, expires)), 0o600)
    return folder / "token"


def stored_token(issuer: str) -> Path | None:
    """The token's file, if it is this issuer's and still good."""
    folder = _folder()
    try:
        login = decode((folder / "login.json").read_bytes(), _Login)
    except (OSError, InvalidInput):
        return None
    good = login.issuer == issuer and login.expires - _MARGIN > time.time()
    return folder / "token" if good else None


def _folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "fleet"
