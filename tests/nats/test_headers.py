"""Who asks from another account, as the server says it in a header."""

from __future__ import annotations

import pytest

from fleet.nats.headers import Requester, requester

TOLD = b'{"start":"2026-11-30T20:46:40.727184198Z","acc":"APP","user":"pi-3","kind":"Client"}'
HEADER = b"Nats-Request-Info: "


@pytest.mark.parametrize("told", [b"", b"{", b"[]", b'{"user":7}', b"[" * 5000, b'{"acc":"APP"}'])
def test_a_request_that_does_not_say_who_asks(told: bytes) -> None:
    assert requester(b"NATS/1.0\r\n" + HEADER + told + b"\r\n\r\n") == Requester()
    assert requester(b"") == Requester()


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"A: b\r\n",
        b"no end of a line",
        b"A: " + HEADER,
        b"A: " + HEADER + b'{"user":"pi-2"}',
        b"A: " + HEADER + b'{"user":"pi-2","x":"',
        b"A: " + HEADER + b'{"user":"pi-2","x":[',
        HEADER + b'{"user":"pi-2"}\r\n',
    ],
    ids=range(8),
)
def test_what_a_device_writes_hides_it_not(before: bytes) -> None:
    block = b"NATS/1.0\r\n" + before + HEADER + TOLD + b"\r\n\r\n"
    assert requester(block) == Requester("pi-3", "Client")


def test_nor_does_a_name_that_it_gives_itself() -> None:
    named = TOLD[:-1] + b',"name":"Nats-Request-Info: {\\"user\\":\\"pi-2\\"}"}'
    assert requester(b"NATS/1.0\r\n" + HEADER + named + b"\r\n\r\n") == Requester("pi-3", "Client")
