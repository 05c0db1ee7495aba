"""How NATS matches subjects, for the tests that reason about permissions."""

from __future__ import annotations


def overlap(one: str, other: str) -> bool:
    """Whether some literal subject matches both patterns (`*` is one token, `>` is one or more at the end)."""
    return _overlap(one.split("."), other.split("."))


def _overlap(one: list[str], other: list[str]) -> bool:
    if not one or not other:
        return one == other
    if ">" in {one[0], other[0]}:
        return True
    if one[0] != other[0] and "*" not in {one[0], other[0]}:
        return False
    return _overlap(one[1:], other[1:])
