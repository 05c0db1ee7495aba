"""Texts that are none: Python carries a byte that is no UTF-8 as half a character, and no message can be made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from fleet.contract.errors import InvalidInput

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json

_FIRST_HALF, _LAST_HALF = "\ud800", "\udfff"
"""The surrogates of Unicode; a JSON escape can say one, too."""


def refuse_no_text(whole: Json) -> None:
    """Refuse an object with half a character in a text.

    Raises:
        InvalidInput: there is one; the message says where.
    """
    if path := _no_text(whole, ""):
        raise InvalidInput(f"{path} is no text: something in it is not UTF-8", next_step="write it as UTF-8")


def _no_text(value: object, path: str) -> str:
    """Where the first such text is; empty for nowhere."""
    match value:
        case str():
            return path if any(_FIRST_HALF <= char <= _LAST_HALF for char in value) else ""
        case dict():
            some = cast("Json", value)
            keys = ((key, f"a name in {path or 'it'}") for key in some)
            return _first([*keys, *((member, f"{path}.{key}".lstrip(".")) for key, member in some.items())])
        case list() | tuple():
            several = cast("Sequence[object]", value)
            return _first((item, f"{path}[{number}]") for number, item in enumerate(several))
        case _:
            return ""


def _first(parts: Iterable[tuple[object, str]]) -> str:
    return next((found for part, path in parts if (found := _no_text(part, path))), "")
