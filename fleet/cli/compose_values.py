"""Values of a Compose file: each is what the specification has there, or it is said what it is instead. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from fleet.contract.tree import Object

T = TypeVar("T")
_UNITS = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_LONGEST = 40
"""Characters of a duration."""
_YES, _NO = {"true", "yes", "on", "y"}, {"false", "no", "off", "n"}
"""Texts that Compose takes for a boolean."""


class Unmapped(ValueError):  # noqa: N818 - carries an answer
    """Why a value does not map, in words."""


def text(value: Any) -> str:  # noqa: ANN401 - JSON
    """A text, or a number as one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unmapped(f"{_shown(value)} is no text; put one in quotes")
    return str(value)


def _shown(value: Any) -> str:  # noqa: ANN401 - JSON
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case list():
            return "a list"
        case Object():
            return "a map"
        case _:
            return repr(value)


def listed(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    """A list, of whatever."""
    if not isinstance(value, list):
        raise Unmapped(f"{_shown(value)} is no list")
    return cast("list[Any]", value)


def whole(value: Any) -> int:  # noqa: ANN401 - JSON
    """A whole number, or a text of one."""
    if isinstance(value, bool) or re.fullmatch(r"-?\d{1,20}", str(value)) is None:
        raise Unmapped(f"{_shown(value)} is no whole number")
    return int(value)


def number(value: Any) -> float:  # noqa: ANN401 - JSON
    """A number, or a text of one."""
    if isinstance(value, bool) or re.fullmatch(r"-?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})", str(value)) is None:
        raise Unmapped(f"{_shown(value)} is no number")
    return float(value)


def boolean(value: Any) -> bool:  # noqa: ANN401 - JSON
    """A boolean, or a text that Compose takes for one: "false" is no more than false."""
    if not isinstance(value, bool | str) or str(value).lower() not in _YES | _NO:
        raise Unmapped(f"{_shown(value)} is neither true nor false")
    return is_yes(value)


def is_yes(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether a value says yes."""
    return isinstance(value, bool | str) and str(value).lower() in _YES


def words(value: str | list[str]) -> list[str]:
    """The words of a command: of a text as a shell splits it, or of a list."""
    try:
        return shlex.split(value) if isinstance(value, str) else [text(item) for item in listed(value)]
    except Unmapped:
        raise
    except ValueError:
        raise Unmapped(f"{value!r} has a quotation without an end") from None


def texts(value: str | list[Any]) -> list[str]:
    """Texts, or a single one."""
    return [text(item) for item in ([value] if isinstance(value, str) else listed(value))]


def text_map(value: list[str] | Object, *, empty: str | None = None) -> dict[str, str]:
    """A map of texts, or a list of NAME=VALUE; `empty` is what a name without a value has, None for a fault."""
    if isinstance(value, Object):
        pairs = dict(value)
    else:
        parts = (pair.partition("=") for pair in texts_in(value))
        pairs = once((name, item if sign else None) for name, sign, item in parts)
    pairs = {name: empty if item is None else item for name, item in pairs.items()}
    if missing := [name for name, item in pairs.items() if item is None]:
        raise Unmapped(f"{missing[0]} has no value, and the file's own environment is not looked at")
    return {name: str(item).lower() if isinstance(item, bool) else text(item) for name, item in pairs.items()}


def once(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """The pairs of a list as a map, for none of which another one says something else."""
    found: dict[str, T] = {}
    for name, item in pairs:
        if found.setdefault(name, item) != item:
            raise Unmapped(f"{name} stands there twice")
    return found


def texts_in(value: Any) -> list[str]:  # noqa: ANN401 - JSON
    """The items of a list."""
    return [text(item) for item in listed(value)]


def size(value: str | int) -> int:
    """Bytes."""
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", str(value).lower())
    if match is None or match[2] not in _UNITS:
        raise Unmapped(f"{value!r} is no size")
    return int(match[1]) * _UNITS[match[2]]


def seconds(value: str | int) -> float:
    """Of a duration such as 1m30s."""
    match = _DURATION.fullmatch(str(value)[: _LONGEST + 1])
    if match is None or not any(match.groups()) or len(str(value)) > _LONGEST:
        raise Unmapped(f"{str(value)[:_LONGEST]!r} is no duration, such as 1m30s")
    hours, minutes, seconds, milliseconds = (float(one or 0) for one in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def only(value: Any, known: set[str]) -> None:  # noqa: ANN401 - JSON
    """See that it is a map, with these keys at most."""
    if not isinstance(value, Object):
        raise Unmapped(f"{_shown(value)} is no map")
    if others := [name for name in value if name not in known]:
        raise Unmapped(f"{others[0]} is not taken")
