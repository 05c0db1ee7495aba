"""Names that exist only when valid: parse at the door, trust inside.

Each is a `str` whose constructor refuses what is not valid with `InvalidInput`, so a value of the type is proof.
"""

from __future__ import annotations

import re
from typing import ClassVar, Self

from fleet.contract.errors import InvalidInput

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
"""An RFC 1123 label, as an expression for a whole match."""
# Semantic Versioning 2.0.0, the grammar its specification gives, behind our "v".
_SEMVER = (
    r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)


class Name(str):
    """A string of one grammar."""

    __slots__ = ()
    kind: ClassVar[str]
    longest: ClassVar[int]
    """Characters."""
    rule: ClassVar[str]
    grammar: ClassVar[re.Pattern[str]]

    def __new__(cls, text: str) -> Self:
        """Parse `text`.

        Raises:
            InvalidInput: `text` does not follow the grammar; the message shows it and the rule.
        """
        if len(text) > cls.longest or not cls.grammar.fullmatch(text):
            shown = text if len(text) <= 80 else f"{text[:77]}..."
            raise InvalidInput(f"{shown!r} is not a valid {cls.kind}", next_step=f"use {cls.rule}")
        return super().__new__(cls, text)


class DeviceId(Name):
    """A device's name: an RFC 1123 label of at most 63 characters, hence one NATS subject token."""

    __slots__ = ()
    kind = "device id"
    longest = 63
    rule = "1 to 63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit (RFC 1123 label)"
    grammar = re.compile(LABEL, re.ASCII)


class DeploymentName(Name):
    """A deployment's name: an RFC 1123 label of at most 63 characters."""

    __slots__ = ()
    kind = "deployment name"
    longest = 63
    rule = DeviceId.rule
    grammar = re.compile(LABEL, re.ASCII)


class AgentVersion(Name):
    """An agent's version: `v` and a semantic version, such as `v0.1.2`."""

    __slots__ = ()
    kind = "agent version"
    longest = 64
    rule = "'v' and a semantic version of at most 64 characters, such as v0.1.2"
    grammar = re.compile(_SEMVER, re.ASCII)

    @property
    def precedence(self) -> tuple[object, ...]:
        """Sorts versions from old to new (Semantic Versioning 2.0.0, section 11); build metadata does not count."""
        numbers, _, labels = self[1:].partition("+")[0].partition("-")
        # A release is newer than its pre-releases; among labels, numbers are older than words.
        order = [(0, int(label), "") if label.isdigit() else (1, 0, label) for label in labels.split(".")]
        return (*(int(number) for number in numbers.split(".")), not labels, order)


class Digest(Name):
    """A SHA-256 content digest in the OCI form `sha256:<64 hex digits>`."""

    __slots__ = ()
    kind = "digest"
    longest = 71
    rule = "sha256: and 64 lower-case hexadecimal digits"
    grammar = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


class TokenSubject(Name):
    """The `sub` of an access token, the key of the identity registry: one NATS KV key token."""

    __slots__ = ()
    kind = "token subject"
    longest = 128
    rule = "the user id that the identity provider shows: 1 to 128 of A-Z, a-z, 0-9, '_' and '-'"
    grammar = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
