"""Secrets for a plan that is only looked at: those that are kept, and others that nobody keeps."""

from __future__ import annotations

from collections.abc import Callable

from fleet.secrets.store import SecretStore


class DraftSecretStore:
    """A `SecretStore` over another one, into which it writes nothing."""

    def __init__(self, kept: SecretStore) -> None:
        """Look there first."""
        self._kept = kept
        self._made: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """As `SecretStore.get`."""
        return self._made.get(name) or self._kept.get(name)

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """As `SecretStore.get_or_create`, for the length of a plan."""
        return self._made.setdefault(name, self.get(name) or make())

    def clear(self) -> None:
        """Forget what was made here."""
        self._made = {}
