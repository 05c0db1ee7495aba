"""What a value is to be is said in words: no name of a type of Python's or of msgspec's reaches a person."""

from __future__ import annotations

import ast
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

import fleet
from fleet.contract.grammar import validation_words

Meta = msgspec.Meta


class _Kind(Enum):
    A = "a"


class _Value(msgspec.Struct, forbid_unknown_fields=True, tag="value"):
    number: Annotated[int, Meta(ge=1, le=5)] = 1
    even: Annotated[int, Meta(multiple_of=2)] = 2
    text: Annotated[str, Meta(min_length=2, max_length=3)] = "ab"
    some: Annotated[tuple[int, ...], Meta(min_length=1, max_length=2)] = (1,)
    pair: tuple[int, int] = (1, 2)
    map: Annotated[dict[str, int], Meta(max_length=1)] = {}
    kind: _Kind = _Kind.A
    maybe: int | str | None = None
    above: Annotated[float, Meta(gt=0)] = 1
    flag: bool = True
    data: bytes = b""
    word: Literal["x"] = "x"


class _Needed(msgspec.Struct):
    name: str


SAID: dict[bytes, str] = {
    b'{"number":0}': "Expected a whole number of at least 1 - at `$.number`",
    b'{"number":6}': "Expected a whole number of at most 5 - at `$.number`",
    b'{"number":1.5}': "Expected a whole number, got a decimal number - at `$.number`",
    b'{"even":3}': "Expected a multiple of 2 - at `$.even`",
    b'{"text":"a"}': "Expected a text of at least 2 characters - at `$.text`",
    b'{"text":"abcd"}': "Expected a text of at most 3 characters - at `$.text`",
    b'{"text":null}': "Expected a text, got null - at `$.text`",
    b'{"some":[]}': "Expected a list of at least 1 entry - at `$.some`",
    b'{"some":[1,2,3]}': "Expected a list of at most 2 entries - at `$.some`",
    b'{"pair":[1]}': "Expected a list of 2 entries - at `$.pair`",
    b'{"map":{"a":1,"b":2}}': "Expected an object of at most 1 entry - at `$.map`",
    b'{"map":{"a":"b"}}': "Expected a whole number, got a text - at `$.map[...]`",
    b'{"kind":"z"}': "'z' is none of the values that it can have - at `$.kind`",
    b'{"maybe":[]}': "Expected a whole number or a text or null, got a list - at `$.maybe`",
    b'{"above":0}': "Expected a number above 0.0 - at `$.above`",
    b'{"flag":1}': "Expected true or false, got a whole number - at `$.flag`",
    b'{"data":7}': "Expected a text in base64, got a whole number - at `$.data`",
    b'{"word":"y"}': "'y' is none of the values that it can have - at `$.word`",
    b'{"type":"other"}': "'other' is none of the values that it can have - at `$.type`",
    b'{"color":1}': "it has the unknown field `color`",
    b'{"number":1e999}': "the number is out of range - at `$.number`",
    b"[]": "Expected an object, got a list",
    b"{": "it ends too early",
    b"{x": "it is not JSON: object keys must be strings (byte 1)",
    b'{"text":"\xff\xff"}': "it is not UTF-8, from byte 1 on",
    b'{"x":' + b"[" * 100_000: "it is nested too deep",
}


@pytest.mark.parametrize("data", SAID, ids=lambda data: data[:24].decode(errors="replace"))
def test_a_value_is_refused_in_words(data: bytes) -> None:
    tolerant = msgspec.defstruct("tolerant", []) if data.startswith(b'{"x"') else _Value
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError, RecursionError)) as refused:
        msgspec.json.decode(data, type=tolerant)
    assert validation_words(refused.value) == SAID[data]


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(b"{}", type=_Needed)
    assert validation_words(refused.value) == "the field `name` is missing"


def test_what_a_person_wrote_is_not_changed() -> None:
    """Their words may look like those of msgspec."""
    said = validation_words(msgspec.ValidationError("Invalid enum value 'Expected `str`' - at `$.kind`"))
    assert said.startswith("'Expected ")
    assert said.endswith(" is none of the values that it can have - at `$.kind`")


def _raw(handler: ast.ExceptHandler) -> list[int]:
    """The lines on which the text of the error itself is used."""
    found: list[int] = []
    for node in ast.walk(handler):
        parts: list[Any] = []
        if isinstance(node, ast.FormattedValue):
            parts = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
            parts = node.args
        found += [part.lineno for part in parts if isinstance(part, ast.Name) and part.id == handler.name]
    return found


def test_nobody_shows_the_words_of_the_library() -> None:
    root = Path(fleet.__file__).parent
    handlers = [
        (path, node)
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.type and {"NOT_JSON", "msgspec"} & _names(node.type)
    ]
    assert handlers
    shown = [f"{path.relative_to(root)}:{line}" for path, node in handlers for line in _raw(node)]
    assert not shown, "say it by `validation_words`"


def _names(node: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
