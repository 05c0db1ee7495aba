"""Changing a map, and saying whether that was news: None removes a key."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def put(known: dict[K, V], key: K, value: V | None) -> bool:
    """Store a value; whether another one, or none, was there before."""
    if value is None:
        return known.pop(key, None) is not None
    if known.get(key) == value:
        return False
    known[key] = value
    return True


def put_nested(known: dict[str, dict[str, V]], outer: str, inner: str, value: V | None) -> bool:
    """As `put`, in the map of `outer`, which is kept only while it has entries."""
    changed = put(known.setdefault(outer, {}), inner, value)
    if not known[outer]:
        del known[outer]
    return changed
