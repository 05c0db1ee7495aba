"""Steps of a rotation on a secret in any store."""

from __future__ import annotations

from fleet.secrets.store import Change, Kept, SecretStore

NAME = "seed"
Shown = tuple[bytes, bytes | None, bytes | None]


def kept(store: SecretStore) -> Kept:
    """All versions of the secret, which must be there."""
    found = store.versions(NAME)
    assert found
    return found


def take(store: SecretStore, *changes: Change) -> None:
    """Take steps of a rotation, one after the other."""
    for change in changes:
        store.change(NAME, kept(store), change, b"new" if change is Change.STAGE else b"")


def shown(store: SecretStore) -> Shown:
    """The current, the next and the previous version."""
    found = kept(store)
    return found.current, found.next, found.previous
