"""Who asks from another account, as the server says it in a header."""

from __future__ import annotations

import pytest

from fleet.nats.headers import Requester, requester

HEADER = "Nats-Request-Info"


@pytest.mark.parametrize("told", ["", "{", "[]", '{"user":7}', "[" * 5000, '{"acc":"APP"}'])
def test_a_request_that_does_not_say_who_asks(told: str) -> None:
    assert requester({HEADER: told}) == Requester()
    assert requester(None) == Requester()


def test_a_request_that_says_who_asks() -> None:
    told = '{"acc":"APP","user":"pi-3","id":7,"kind":"Client"}'
    assert requester({HEADER: told}) == Requester("pi-3", "Client")
