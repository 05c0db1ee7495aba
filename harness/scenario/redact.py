"""Take secrets out of what is shown: logs, attachments, messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"  # PEM
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON Web Token
    r"|\bS[ACNOUX][A-Z2-7]{56}\b",  # NKey seed
    re.DOTALL,
)
_SHORTEST = 8
"""Characters below which a value is too common to be taken for a secret wherever it stands."""


class Redactor:
    """Replaces values known to be secret, and what has the shape of a key or a token."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Know these values; shorter ones than 8 characters are ignored."""
        self._secrets = sorted({value for value in secrets if len(value) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text with `[REDACTED]` in place of each secret."""
        for value in self._secrets:
            text = text.replace(value, "[REDACTED]")
        return _SHAPES.sub("[REDACTED]", text)
