"""A ConfigMap that somebody has changed by hand is told as that, with the way back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fleet.contract.announcement import SERVER_INFO_KEY, server_info
from fleet.contract.errors import InvalidInput
from fleet.contract.objects import ServerInfo

INFO = ServerInfo("https://id.example.org", "1", "2", "tls://nats.example.org:4222", "CA", "v0.1.0")
WHOLE = msgspec.json.encode(INFO).decode()


def test_it_says_the_server() -> None:
    assert server_info({"data": {SERVER_INFO_KEY: WHOLE}}) == INFO


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"data": None},
        {"data": {}},
        {"data": {"other": WHOLE}},
        {"data": {SERVER_INFO_KEY: ""}},
        {"data": {SERVER_INFO_KEY: WHOLE[:-9]}},
        {"data": {SERVER_INFO_KEY: "[]"}},
        {"data": {SERVER_INFO_KEY: "{}"}},
        {"data": {SERVER_INFO_KEY: '{"issuer": 1}'}},
        {"data": {SERVER_INFO_KEY: "[" * 100_000}},
    ],
    ids=lambda data: str(data)[:40],
)
def test_anything_else_is_refused_with_a_way_back(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"somebody has changed the ConfigMap fleet-server.*server\.json") as refused:
        server_info(data)
    assert "fleet server install" in refused.value.next_step
    assert "ServerInfo" not in refused.value.what
