"""Where somebody goes after signing in: the screen that was asked for, and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import quote

HOME = "/"
_NAME = r"[a-z0-9][a-z0-9.-]{0,252}"
_SCREEN = re.compile(
    rf"/(?:tail|(?:devices|deployments)(?:/{_NAME})?|deployments/{_NAME}/devices)?"
    r"(?:\?[A-Za-z0-9._~!$&()*+,;=:@/?%-]{0,1000})?"
)
"""The paths of screens with their filters. What is not listed is no destination, so none is of another origin."""


def own_path(text: str) -> str:
    """The path and query of a screen, as they were asked for; the first screen for anything else."""
    return text if _SCREEN.fullmatch(text) else HOME


def sign_in_for(path: str) -> str:
    """The address of the sign-in that leads there afterwards."""
    return "/sign-in" if path == HOME else f"/sign-in?to={quote(path, safe='')}"


def asked_for(raw_path: bytes, query: bytes) -> str:
    """The screen that a request asks for, from its path and query as they travelled."""
    return own_path(raw_path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else ""))
