"""What it means that bytes from outside hold no JSON, or none of the kind that is wanted."""

from __future__ import annotations

import json

import msgspec

NOT_JSON = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
"""What msgspec 0.22 raises for them, and `json` too: `ValueError` for an integer of more than 4,300 digits and, as
`UnicodeDecodeError`, for bytes that are no UTF-8; `RecursionError` for arrays in arrays without end. Whoever reads such
bytes catches all of it, or one answer or one file ends what reads it."""

_EXPONENTS = 256
"""Letters that may begin an exponent, up to which msgspec reads a value. It takes 10 microseconds for a number such as
1e308, so a report of 62 KB took 0.1 s of the thread that hears all devices; `json` takes 3 ms."""


def any_json(data: bytes) -> object:
    """What a device wrote, of whatever shape.

    Raises:
        one of `NOT_JSON`: it is no JSON.
    """
    if data.count(b"e") + data.count(b"E") <= _EXPONENTS:
        return msgspec.json.decode(data)
    return json.loads(data.decode(), parse_constant=_refuse)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
