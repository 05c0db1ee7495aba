"""How text from outside is shown: it moves no cursor, forges no line, hides nothing, and turns nothing around."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

_INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xFFF9, 0xFFFC),
        (0x1D173, 0x1D17A),
        (0xE0000, 0xE0FFF),
    )
    for code in range(first, last + 1)
)
"""What takes no room though Python calls it printable, after Unicode's Default_Ignorable_Code_Point."""


_SHOWN = 1_000
"""Characters of a text that somebody looks at."""


def shortened(text: str, most: int = _SHOWN) -> str:
    """The text, of a longer one its beginning and an ellipsis, of `most` characters together.

    A selector, for one, may have a quarter of a million characters.
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def one_line(text: str) -> str:
    """The text with everything escaped, as Python writes it, that is not plainly visible in one line.

    That is control characters (C0, DEL, C1), line and paragraph separators, bidirectional overrides and isolates,
    characters without width, spaces other than the common one, unassigned and private ones, and lone surrogates.
    """
    if text.isprintable() and (text.isascii() or _INVISIBLE.isdisjoint(text)):
        return text
    return "".join(char if char.isprintable() and char not in _INVISIBLE else _escaped(char) for char in text)


def lines(text: str) -> str:
    """A text of several lines, such as a traceback, each as `one_line` makes it; a tabulator stays."""
    return "\n".join("\t".join(map(one_line, line.split("\t"))) for line in text.split("\n"))


def each(value: object, show: Callable[[str], str] = one_line) -> object:
    """A JSON value with every text in it, names included, as `show` makes it."""
    if isinstance(value, str):
        return show(value)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {each(name, show): each(item, show) for name, item in pairs}
    if isinstance(value, list | tuple):
        return [each(item, show) for item in cast("Iterable[object]", value)]
    return value


def _escaped(character: str) -> str:
    code = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if short is not None:
        return short
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
