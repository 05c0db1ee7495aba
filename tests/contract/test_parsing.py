"""JSON of any shape that a device wrote is read alike by both readers: one takes what costs the other too much."""

from __future__ import annotations

import json
from typing import NoReturn

import msgspec
import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.parsing import NOT_JSON, any_json
from fleet.contract.states import read_state
from fleet.contract.wire import DeviceInfo, decode_report

MANY = b"[" + b",".join([b"1e308"] * 300) + b"]"


def costly(*_: object, **__: object) -> NoReturn:
    raise AssertionError("msgspec takes 10 microseconds for each of these numbers")


def test_many_numbers_with_exponents_are_not_left_to_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msgspec.json, "decode", costly)
    assert any_json(MANY) == [1e308] * 300
    assert any_json(MANY.replace(b"e", b"E")) == [1e308] * 300
    with pytest.raises(InvalidInput, match="DeviceState"):
        read_state("web", msgspec.Raw(b'{"x":' + MANY + b"}"))


@pytest.mark.parametrize(
    "value",
    [{"a": [1, 2.5, None, True, "\u00e9\n\u202e"]}, [], "e" * 300, {"e" * 9: -1e-9}, 2**70, [[[0]]]],
    ids=range(6),
)
def test_both_read_the_same(value: object) -> None:
    data = json.dumps(value).encode()
    assert any_json(data) == value
    assert any_json(b"[" + data + b"," + MANY + b"]") == [value, [1e308] * 300]


@pytest.mark.parametrize(
    "bad",
    [b"NaN", b"-Infinity", b"{", b"\xff", b"[" * 40_000, b"1" * 5_000, b"", b"\xef\xbb\xbf1", b"'e'"],
    ids=range(9),
)
def test_what_is_no_json_is_none_to_both(bad: bytes) -> None:
    for data in (bad, b"[" + bad + b"," + MANY + b"]"):
        with pytest.raises(NOT_JSON):
            any_json(data)


def test_a_report_of_many_such_numbers_is_refused_by_the_name_of_its_kind() -> None:
    with pytest.raises(InvalidInput, match="not a valid DeviceInfo"):
        decode_report(MANY, DeviceInfo)
