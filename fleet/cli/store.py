"""The stored login: `$XDG_CONFIG_HOME/fleet`, mode 0600, for one issuer and its authority at a time."""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path

import msgspec

from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.contract.wire import decode, encode
from fleet.identity.access_token import AccessToken
from fleet.process.durable import replace_file
from fleet.process.umask import make_folders
from fleet.process.user_folders import user_config

_MARGIN = 60
"""Seconds before its end from which on a token counts as expired."""


class _Login(msgspec.Struct, frozen=True):
    """The issuer of the stored token, its end (Unix time in seconds), and the SHA-256 of the authorities."""

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
        replace_file(folder / "token", token.text.encode(), 0o600, shared=True)
        replace_file(folder / "login.json", encode(_Login(issuer, expires, _digest(ca))), 0o600, shared=True)
    except OSError as error:
        raise _refused(folder, error) from error
    return folder / "token"


def stored_token(issuer: str, ca: str) -> Path | None:
    """The token's file, if the token is from this issuer, with these authorities, and still valid."""
    folder = config_folder()
    try:
        login = decode((folder / "login.json").read_bytes(), _Login)
    except (OSError, InvalidInput):
        return None
    same = (login.issuer, login.authority) == (issuer, _digest(ca))
    good = same and login.expires - _MARGIN > time.time()
    return folder / "token" if good else None


def follow(issuer: str, before: str, ca: str) -> None:
    """Let the stored token count with other authorities of its issuer, which a person has confirmed.

    Args:
        issuer: Whose token it must be.
        before: The SHA-256 (hex) of the authorities with which it must have counted.
        ca: Those with which it counts from now on.

    Raises:
        NotPermitted: the file cannot be written.
    """
    path = config_folder() / "login.json"
    try:
        login = decode(path.read_bytes(), _Login)
    except (OSError, InvalidInput):
        return
    if (login.issuer, login.authority) != (issuer, before) or before == _digest(ca):
        return
    try:
        replace_file(path, encode(msgspec.structs.replace(login, authority=_digest(ca))), 0o600, shared=True)
    except OSError as error:
        raise _refused(path.parent, error) from error


def config_folder() -> Path:
    """Where the command line keeps what belongs to this person."""
    return user_config() / "fleet"


def made_folder() -> Path:
    """The same, if it can be written: a person must not log in if the login cannot be stored.

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
