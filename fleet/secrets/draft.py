"""Secrets for a plan that is only looked at: those that are kept, and others that nobody keeps."""

from __future__ import annotations

from collections.abc import Callable

from fleet.contract.errors import NotPermitted
from fleet.secrets.store import Change, Kept, SecretStore


class DraftSecretStore:
    """A `SecretStore` over another one, into which it writes nothing."""

    def __init__(self, kept: SecretStore) -> None:
        self._kept = kept
        self._made: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """As `SecretStore.get`."""
        return self._made.get(name) or self._kept.get(name)

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """As `SecretStore.get_or_create`, for the length of a plan."""
        return self._made.setdefault(name, self.get(name) or make())

    def versions(self, name: str) -> Kept | None:
        """As `SecretStore.versions`."""
        made = self._made.get(name)
        return self._kept.versions(name) or (None if made is None else Kept(made))

    def change(self, name: str, seen: Kept, change: Change, value: bytes = b"") -> None:
        """As `SecretStore.change`: refused, for a look changes nothing."""
        del seen, value
        raise NotPermitted(f"only looking: {name} was not changed ({change.value})", next_step="leave --dry-run away")

    def clear(self) -> None:
        """Forget what was made here."""
        self._made = {}
