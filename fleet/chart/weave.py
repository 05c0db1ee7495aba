"""Several renderings of an object woven into one tree: what they share once, what differs under a condition. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from fleet.topology.capabilities import Json


class Choice(msgspec.Struct, frozen=True):
    """Something that an install may choose.

    Attributes:
        condition: When it is made, as a template expression.
        value: The value that it is made by, as a template expression; empty where it is only a yes or no.
        off: What stands in renderings without it.
        on: And with it.
    """

    condition: str
    value: str = ""
    off: object = None
    on: object = None


class Expression(msgspec.Struct, frozen=True):
    """A scalar that is a value."""

    text: str


class Either(msgspec.Struct, frozen=True):
    """One of two, as the choice is made."""

    choice: Choice
    on: Node
    off: Node


class Member(msgspec.Struct, frozen=True):
    """What is in a mapping or a list; `only` when it is there only with (or, negated, only without) a choice."""

    node: Node
    key: str = ""
    only: Choice | None = None
    negated: bool = False


class Mapping(msgspec.Struct, frozen=True):
    """Members with keys, in order."""

    members: tuple[Member, ...]


class Listing(msgspec.Struct, frozen=True):
    """Members without keys, in order."""

    members: tuple[Member, ...]


Scalar = str | int | float | bool | None
Node = Scalar | Expression | Either | Mapping | Listing
Variant = tuple[Choice, Any]


class CannotWeave(Exception):  # noqa: N818 - reads as what it is
    """Two choices change the same place, or one takes something out of a list: the renderer needs another look."""


def weave(base: object, variants: Sequence[Variant]) -> Node:
    """The tree of `base`, rendered without any choice, and of its renderings with one choice each.

    Raises:
        CannotWeave: the choices are not independent of each other.
    """
    differing = [(choice, tree) for choice, tree in variants if tree != base]
    if not differing:
        return _plain(base)
    if base and isinstance(base, dict) and all(isinstance(tree, dict) for _, tree in differing):
        return _weave_mapping(cast("Json", base), differing)
    if base and isinstance(base, list) and all(isinstance(tree, list) for _, tree in differing):
        return _weave_list(cast("list[Any]", base), differing)
    if len(differing) > 1:
        raise CannotWeave(f"{base!r} depends on {' and on '.join(choice.condition for choice, _ in differing)}")
    (choice, tree) = differing[0]
    if choice.value and (base, tree) == (choice.off, choice.on):
        return Expression(choice.value)
    return Either(choice, _plain(tree), _plain(cast("object", base)))


def _weave_mapping(base: Json, variants: Sequence[Variant]) -> Mapping:
    members: list[Member] = []
    for key, value in base.items():
        gone = [choice for choice, tree in variants if key not in tree]
        if len(gone) > 1:
            raise CannotWeave(f"{key} is taken out by more than one choice")
        node = weave(value, [(choice, tree[key]) for choice, tree in variants if key in tree])
        members.append(Member(node, key, gone[0] if gone else None, bool(gone)))
    added = [(key, choice, tree[key]) for choice, tree in variants for key in tree if key not in base]
    if len({key for key, _, _ in added}) < len(added):
        raise CannotWeave(f"more than one choice adds one of {', '.join(key for key, _, _ in added)}")
    return Mapping((*members, *(Member(_plain(value), key, choice) for key, choice, value in added)))


def _weave_list(base: list[Any], variants: Sequence[Variant]) -> Listing:
    if any(len(tree) < len(base) for _, tree in variants):
        raise CannotWeave(f"a choice takes something out of {base!r}")
    members = [
        Member(weave(value, [(choice, tree[number]) for choice, tree in variants])) for number, value in enumerate(base)
    ]
    added = [Member(_plain(value), only=choice) for choice, tree in variants for value in tree[len(base) :]]
    return Listing((*members, *added))


def _plain(value: object) -> Node:
    if isinstance(value, dict):
        return Mapping(tuple(Member(_plain(item), key) for key, item in cast("Json", value).items()))
    if isinstance(value, list):
        return Listing(tuple(Member(_plain(item)) for item in cast("list[Any]", value)))
    return cast("Scalar", value)
