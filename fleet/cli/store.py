"""The stored login: `$XDG_CONFIG_HOME/fleet`, mode 0600, for one issuer and its authority at a time."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

import msgspec

from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.contract.wire import decode, encode
from fleet.tokens import AccessToken
from fleet.topology.host import write_atomic
from fleet.umask import make_folders

_MARGIN = 60
"""Seconds before its end from which on a token counts as expired."""


class _Login(msgspec.Struct, frozen=True):
    """Whose the stored token is, until when it is good (Unix time in seconds), and the SHA-256 of the authorities."""

    issuer: str
    expires: float
    authority: str = ""


def store(issuer: str, ca: str, token: AccessToken) -> Path:
    """Keep a login; returns the token's file.

    Raises:
        NotPermitted: the file cannot be written.
    """
    folder = made_folder()
    expires = time.time() + token.expires_at - time.monotonic()
    try:
        write_atomic(folder / "token", token.text.encode(), 0o600)
        write_atomic(folder / "login.json", encode(_Login(issuer, expires, _digest(ca))), 0o600)
    except OSError as error:
        raise _refused(folder, error) from error
    return folder / "token"


def stored_token(issuer: str, ca: str) -> Path | None:
    """The token's file, if it was got from this issuer, by these authorities, and is still good."""
    folder = config_folder()
    try:
        login = decode((folder / "login.json").read_bytes(), _Login)
    except (OSError, InvalidInput):
        return None
    same = (login.issuer, login.authority) == (issuer, _digest(ca))
    good = same and login.expires - _MARGIN > time.time()
    return folder / "token" if good else None


def config_folder() -> Path:
    """Where the command line keeps what belongs to this person."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "fleet"


def made_folder() -> Path:
    """The same, after seeing that we can write there: a person is asked for nothing that could not be kept.

    Raises:
        NotPermitted: we cannot.
    """
    folder = config_folder()
    try:
        make_folders(folder, 0o700)
        folder.chmod(0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refused(folder, error) from error
    return folder


def _refused(folder: Path, error: OSError) -> NotPermitted:
    return NotPermitted(
        f"cannot write to {folder}: {error.strerror}",
        next_step="set XDG_CONFIG_HOME to a folder that you may write to, and repeat",
    )


def _digest(ca: str) -> str:
    return hashlib.sha256(ca.encode()).hexdigest()
