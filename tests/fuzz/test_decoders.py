"""No bytes end what reads them: the values that once did, values with a part replaced, and what hypothesis thinks of.

`python -m tests.fuzz` looks further, by what each input covers.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import CASES, LOOKS, cases, seeds

NAMES = sorted(LOOKS)
NASTY = {
    "nothing": b"",
    "null": b"null",
    "a text": b'"alg kid"',
    "a list": b'["alg","kid"]',
    "arrays without end": b"[" * 20_000,
    "objects without end": b'{"a":' * 20_000,
    "a deep array": b"[" * 3_000 + b"]" * 3_000,
    "a hidden deep array": b'{"unknown":' + b"[" * 3_000 + b"]" * 3_000 + b"}",
    "5,000 digits": b"9" * 5_000,
    "a negative zero": b"-0",
    "an exponent": b"1e999",
    "no number": b"NaN",
    "infinity": b"-Infinity",
    "over 64 bits": b"18446744073709551616",
    "a lone surrogate": b'"\\ud800"',
    "a NUL": b'"\\u0000"',
    "bad UTF-8": b'"\xff\xfe"',
    "a mark of byte order": b"\xef\xbb\xbf{}",
    "one name twice": b'{"type":"info","type":"state","name":1,"name":2}',
    "a long text": b'"' + b"<" * 5_000 + b'"',
}


@pytest.mark.parametrize("name", NAMES)
def test_what_it_is_made_for_is_read(name: str) -> None:
    for data in seeds(name):
        LOOKS[name](data)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_in_the_place_of_every_part_ends_nothing(name: str) -> None:
    for data in [*NASTY.values(), *(made for seed in seeds(name)[:2] for made in _replaced(seed))]:
        LOOKS[name](data)


@settings(max_examples=15)
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_changed_bytes_end_nothing(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(seeds(name)))
    first = data.draw(st.integers(0, len(seed)))
    last = data.draw(st.integers(first, min(len(seed), first + 40)))
    LOOKS[name](seed[:first] + data.draw(st.binary(max_size=40) | st.sampled_from(list(NASTY.values()))) + seed[last:])


def test_every_case_belongs_to_a_decoder() -> None:
    found = {path.name for path in CASES.iterdir()} if CASES.is_dir() else set[str]()
    assert found <= set(NAMES)
    assert all(cases(name) for name in found)


_DEEP = 6_000
"""Bytes from which one of them is deep."""


def _replaced(seed: bytes) -> list[bytes]:
    """The seed with each nasty value in the place of each JSON value that follows a colon.

    The deep ones come in the first two places only: YAML takes a second for each, wherever it is.
    """
    places = [at for at, byte in enumerate(seed) if byte == ord(":") and seed[at + 1 : at + 2] in b' "0123456789[{tfn']
    return [
        seed[: at + 1] + value + seed[_end(seed, at + 1) :]
        for number, at in enumerate(places[:8])
        for value in NASTY.values()
        if value and (number < 2 or len(value) < _DEEP)
    ]


def _end(seed: bytes, start: int) -> int:
    """Where a value ends, roughly: at the next comma or closing bracket."""
    return next((at for at in range(start, len(seed)) if seed[at] in b",]}\n"), len(seed))
