"""Who ordered a generation of an object, and by which command: an annotation, written together with the change itself.

It is what the command line says of itself. Whoever may write the object may write it, too; the API server's audit log
is what proves it. Decision 059 says why there are two annotations.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.limits import Count, GivenChangeId, Word
from fleet.contract.objects import GROUP, Metadata
from fleet.contract.printable import one_line
from fleet.contract.wire import decode, encode

APPLIED = f"{GROUP}/applied"
"""Written by a server-side apply."""
PATCHED = f"{GROUP}/patched"
"""Written by a patch. Server-side apply takes the two for different managers, and refuses each the other's field."""

OURS = (APPLIED, PATCHED)


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command of an admin. `by` is the user as Kubernetes knows them; empty where it does not tell."""

    id: GivenChangeId
    generation: Count
    command: Word
    by: Word = ""

    @property
    def annotation(self) -> str:
        """It as the text of an annotation."""
        return encode(self).decode()

    def __str__(self) -> str:
        """By whom, with what, and the id by which logs know it; one line, for anybody may have written it."""
        return one_line(f"by {self.by or 'somebody'} with `{self.command}` (change {self.id})")


def change_of(meta: Metadata) -> Change | None:
    """The change that made the object's present generation; None where another tool made it."""
    return noted(meta.annotations, meta.generation)


def noted(annotations: Mapping[str, str], generation: int) -> Change | None:
    """The change that made a generation, by the annotations of the object as it was then."""
    for name in OURS:
        if name not in annotations:
            continue
        try:
            change = decode(annotations[name].encode(), Change)
        except (InvalidInput, UnicodeEncodeError):
            continue
        if change.generation == generation:
            return change
    return None
