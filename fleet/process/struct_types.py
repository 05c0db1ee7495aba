"""Completes the types of values before a second thread can meet them.

msgspec 0.22 works out how a Struct is decoded at its first use, and shares the unfinished result: a second thread that
decodes the same Struct meanwhile reads a null pointer, and the process ends with SIGSEGV. It was seen on slow machines,
when an agent read its journal of upgrades in a thread while it decoded what NATS sent. Once a type is complete, any
number of threads may use it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

_OURS = "fleet."


def complete_types() -> None:
    """Work out every Struct of ours that is loaded; call it before a thread that decodes is started."""
    for kind in _below(msgspec.Struct):
        if kind.__module__.startswith(_OURS):
            _complete(kind)


def _complete(kind: type[msgspec.Struct]) -> None:
    try:
        msgspec.json.Decoder(kind)
    except (TypeError, NameError):
        return  # it is never decoded: msgspec knows no form for it


def _below(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)
