"""The one promise of a secret store: what was made once is never made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class SecretStore(Protocol):
    """Keeps named secrets. Two callers at once get the same value, for the first one's is kept."""

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret's value; `make` is called only where there is none.

        Raises:
            InvalidInput: what is kept is empty or damaged; it is never replaced.
        """
        ...

    def get(self, name: str) -> bytes | None:
        """The value, or None when it was never made."""
        ...

    def clear(self) -> None:
        """Forget every secret, for ever: only when what they protect goes too."""
        ...
