"""What a reference to a container image may be: the grammar of the Distribution project (`reference` package)."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

_HOST_PART = r"([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_PORT = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_HOST = rf"({_HOST_PART}(\.{_HOST_PART})*|\[[a-fA-F0-9:]+\])(:{_PORT})?"
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_TAG = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"@[A-Za-z][A-Za-z0-9]*([+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,128}"
_SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
REFERENCE = rf"^({_HOST}/)?{_PART}(/{_PART})*({_TAG})?({_DIGEST})?\Z"
"""Kubernetes gets it with `$` for `\\Z`, which in Python would also match before a last line feed."""
RULE = "[HOST[:PORT]/]NAME[:TAG][@DIGEST], the name in lower case and without https://"

ImageReference = Annotated[str, msgspec.Meta(min_length=1, max_length=512, extra_json_schema={"pattern": REFERENCE})]
"""`Container` holds the pattern, too, since its refusal says what is wrong."""


DOCKER_HUB = "docker.io"
HUB_ADDRESS = "registry-1.docker.io"
"""docker's own registry: its name, and where it answers."""
HUB_NAMES = frozenset({DOCKER_HUB, HUB_ADDRESS, "index.docker.io"})
"""What else it is called."""


def check_image(text: str) -> None:
    """Nothing, for what an engine can look for.

    Raises:
        ValueError: no image can have this reference; the message says why.
    """
    if not re.match(REFERENCE, text):
        hint = _hint(text)
        raise ValueError(f"{text[:120]!r} is not {RULE}" + (f": {hint}" if hint else ""))


def registry_of(image: str) -> str:
    """The registry that an engine asks for an image: the first part if it can only be a host, else docker's own."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    if not is_host or first in HUB_NAMES:
        return DOCKER_HUB
    return first


def repository_of(image: str) -> tuple[str, str]:
    """What an image is called at its registry: the repository, and the digest or else the tag."""
    registry = registry_of(image)
    first, slash, rest = image.partition("/")
    named = rest if slash and (first == registry or first in HUB_NAMES) else image
    name, _, digest = named.partition("@")
    name, _, tag = name.partition(":")
    if registry == DOCKER_HUB and "/" not in name:
        name = f"library/{name}"
    return name, digest or tag or "latest"


def _hint(text: str) -> str:
    if scheme := _SCHEME.match(text):
        return f"leave out {scheme[0]!r}"
    if text != text.strip():
        return "leave out the white space"
    if re.match(REFERENCE, text.lower()):
        return "a repository has no capital letters"
    return ""
