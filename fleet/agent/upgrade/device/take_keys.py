"""Proves and writes a list of release keys, in a process of its own: checking signatures takes 10 MB.

`python -m fleet.agent.upgrade.device.take_keys` reads a `Request` from standard input and writes a `Verdict` to
standard output.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from fleet.agent.locked import locked
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.contract.errors import FleetError
from fleet.contract.release_keys import SignedKeys
from fleet.process.durable import replace_file

_PUBLIC = 0o644


class Request(msgspec.Struct, frozen=True):
    """The lists that are offered, and to which device."""

    root: str
    lists: tuple[SignedKeys, ...]


class Verdict(msgspec.Struct, frozen=True):
    """Why a list with a higher number was not taken; empty where none was refused."""

    refused: str = ""


def take(store: VersionStore, lists: tuple[SignedKeys, ...], now: float) -> str:
    """Put the last list that can be proven in the place of the present one; why a later one is not taken.

    Raises:
        FleetError: the present list is not there, or does not parse.
        OSError: the disk failed; the present list still counts.
    """
    from fleet.artifacts.trusted import newest  # noqa: PLC0415 - the weight of this process

    with locked(store.trusted_keys.parent):
        reached, why = newest(store.trusted(), lists, now)
        if reached is not None:
            replace_file(store.trusted_keys, reached.payload.encode(), _PUBLIC)
    return why


def _answer(request: Request) -> Verdict:
    try:
        return Verdict(take(VersionStore(Path(request.root)), request.lists, time.time()))
    except FleetError as error:
        return Verdict(error.what)
    except OSError as error:
        return Verdict(f"it cannot be written: {error}")


if __name__ == "__main__":
    _request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.json.encode(_answer(_request)))
