"""The promises of a secret store: what was made once is never made again; a rotation names what it was decided on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Protocol

import msgspec

from fleet.contract.errors import Conflict


class Kept(msgspec.Struct, frozen=True):
    """The versions of one secret; the values are secrets.

    `current` is what is presented and signed with. `next` is honoured beside it before it takes its place, `previous`
    after that. `made` is when the current version was made, as far as that is known. `revision` changes with each
    write, also with one that restores what was before.
    """

    current: bytes
    next: bytes | None = None
    previous: bytes | None = None
    made: datetime | None = None
    revision: str = ""

    def __repr__(self) -> str:
        return f"Kept(next={self.next is not None}, previous={self.previous is not None}, revision={self.revision!r})"

    @property
    def values(self) -> tuple[bytes, ...]:
        """All versions, in an order that a rotation does not change: what is made from them stays the same."""
        return tuple(sorted({value for value in (self.current, self.next, self.previous) if value is not None}))


class Change(Enum):
    """A step of a rotation in the store. All but `STAGE` work on the values that are there."""

    STAGE = "stage"
    PROMOTE = "promote"
    RETIRE = "retire"
    DEMOTE = "demote"
    DROP = "drop"


def changed(kept: Kept, change: Change, value: bytes = b"") -> Kept:
    """The versions after a change; `value` is the new one of `STAGE`.

    Raises:
        Conflict: the change does not fit what is kept.
    """
    current, following, previous = kept.current, kept.next, kept.previous
    if change is Change.STAGE and following is None and previous is None and value:
        return Kept(current, next=value)
    if change is Change.PROMOTE and following is not None and previous is None:
        return Kept(following, previous=current)
    if change is Change.RETIRE and previous is not None and following is None:
        return Kept(current)
    if change is Change.DEMOTE and previous is not None and following is None:
        return Kept(previous, next=current)
    if change is Change.DROP and following is not None and previous is None:
        return Kept(current)
    raise Conflict(f"cannot {change.value} this secret as it is kept now", next_step="read it again, and decide again")


class SecretStore(Protocol):
    """Keeps named secrets. Two callers at once get the same value, for the first one's is kept."""

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret's current value; `make` is called only where there is none.

        Raises:
            InvalidInput: what is kept is empty or damaged; it is never replaced.
        """
        ...

    def get(self, name: str) -> bytes | None:
        """The current value, or None when it was never made."""
        ...

    def versions(self, name: str) -> Kept | None:
        """All versions as they are now, or None when it was never made.

        Raises:
            InvalidInput: one is empty or damaged.
        """
        ...

    def change(self, name: str, seen: Kept, change: Change, value: bytes = b"") -> None:
        """Take a step of a rotation; after a crash the versions are those before or those after it.

        Args:
            name: Of the secret.
            seen: What the step was decided on.
            change: The step.
            value: The new version, for `STAGE`.

        Raises:
            Conflict: what is kept is no longer what was seen; nothing was changed.
            NotPermitted: we may not write; nothing was changed.
        """
        ...

    def clear(self) -> None:
        """Forget every secret, for ever: only when what they protect goes too."""
        ...
