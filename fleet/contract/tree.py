"""A document before it is typed: its objects, and places in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

Path = tuple[str | int, ...]
"""A place: keys of objects, and numbers of list items from 0."""


def spec_of(item: dict[str, Any]) -> dict[str, Any]:
    """The spec of an object of Kubernetes; an empty one where another definition of it took none, or no object."""
    spec = item.get("spec")
    return cast("dict[str, Any]", spec) if isinstance(spec, dict) else {}


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
