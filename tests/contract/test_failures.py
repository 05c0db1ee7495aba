"""Why something failed is said in words: no person reads the class of an error."""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path
from typing import cast

import aiohttp
import httpx
import nats.errors
import pytest
from nats.aio.client import Client

from fleet.contract.errors import Unreachable
from fleet.nats.bus import Bus
from fleet.process.failures import in_words, unanswered

FLEET = Path(__file__).parents[2] / "fleet"
NAMED = {
    "fleet/process/failures.py": "makes words of it",
    "fleet/agent/grant.py": "an error on its way between two processes",
    "fleet/agent/supervise.py": "a defect of ours, which somebody reports",
    "fleet/cli/main.py": "a defect of ours, which somebody reports",
    "fleet/operator/entry_reader.py": "a defect of ours, whose text may hold a secret",
}
"""Who may name the class of an error, and why."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (nats.errors.FlushTimeoutError(), "no answer in time"),
        (httpx.ReadTimeout(""), "no answer in time"),
        (aiohttp.ServerTimeoutError(), "no answer in time"),
        (TimeoutError(110, "Connect call failed ('10.0.0.1', 4222)"), "no answer in time"),
        (TimeoutError("it did not decide on the login in time"), "it did not decide on the login in time"),
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 4222)"), "Connection refused"),
        (ConnectionResetError(), "connection reset error"),
        (httpx.ReadError(""), "read error"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "wrong version number"),
        (nats.errors.Error("nats: 'Authorization Violation'"), "'Authorization Violation'"),
        (nats.errors.UnexpectedEOF(), "unexpected EOF"),
        (httpx.ConnectError("[Errno 111] Connection refused"), "Connection refused"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "Name or service not known"),
        (OSError(None, "[Errno None] Unable to connect to port 1 on 127.0.0.1"), "Unable to connect to port 1"),
        (httpx.ConnectError("[SSL] record layer failure (_ssl.c:1006)"), "record layer failure"),
    ],
)
def test_in_words(error: Exception, words: str) -> None:
    said = in_words(error)
    assert words in said
    assert not set("[_") & set(said), "no number of the kernel's, and no name of OpenSSL's"
    assert type(error).__name__ not in said


def test_a_server_that_hangs_is_told_from_one_that_is_gone() -> None:
    assert unanswered("NATS", nats.errors.TimeoutError()) == "NATS did not answer in time"
    assert unanswered("NATS", nats.errors.ConnectionClosedError()) == "NATS did not answer: connection closed"


class _Hanging:
    """A client of NATS whose server answers no question."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def jetstream(self, **_: float) -> None:
        """Nobody asks it."""

    async def flush(self, _: int) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (nats.errors.FlushTimeoutError(), "it takes connections, and gave no sign of life within 3 s"),
        (nats.errors.ConnectionReconnectingError(), "connection reconnecting"),
    ],
)
def test_a_nats_that_gives_no_sign_of_life(error: Exception, words: str) -> None:
    with pytest.raises(Unreachable) as told:
        asyncio.run(Bus(cast("Client", _Hanging(error))).ask())
    assert told.value.what == words


def test_nobody_else_names_the_class_of_an_error() -> None:
    name = re.compile(r"type\((error|cause|failure|exc|problem)\)\.__name__|\b(error|cause)\.__class__")
    found = {str(path.relative_to(FLEET.parent)) for path in FLEET.rglob("*.py") if name.search(path.read_text())}
    assert found == NAMED.keys(), "see fleet/process/failures.py"
