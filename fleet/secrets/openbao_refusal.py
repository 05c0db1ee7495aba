"""The words with which OpenBao's HTTP API refuses."""

from __future__ import annotations

import msgspec


class _Refusal(msgspec.Struct, frozen=True):
    errors: tuple[str, ...] = ()


def refusal(content: bytes) -> str:
    """The words, in one line; empty where it gives none.

    Raises:
        One of `NOT_JSON`: it is no answer of OpenBao's.
    """
    return "; ".join(" ".join(error.split()) for error in msgspec.json.decode(content, type=_Refusal).errors)
