"""A document before it is typed: its objects, and places in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Path = tuple[str | int, ...]
"""A place: keys of objects, and numbers of list items from 0."""


class Object(dict[str, Any]):
    """An object as it was written, with the names that stand in it more than once."""

    repeated: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, Any]]) -> Object:
        """Of all its pairs."""
        made, repeated = cls(), dict[str, None]()
        for name, value in pairs:
            if name in made:
                repeated[name] = None
            made[name] = value
        made.repeated = tuple(repeated)
        return made
