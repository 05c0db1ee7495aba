"""Who writes a workload is told in words what a text is to be."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.wire import Container, from_builtins

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "path": ({"mounts": [{"type": "volume", "source": "a", "path": "/a/../b"}]}, "Expected an absolute path without"),
    "source": ({"mounts": [{"type": "bind", "source": "/a/../b", "path": "/b"}]}, "Expected the name of a volume, or"),
    "mode": ({"files": [{"path": "/a", "content": "x", "mode": "9999"}]}, "Expected a mode as 0400"),
    "secret": ({"secretEnv": {"A": {"name": "DB", "key": "k"}}}, "Expected the name of a Secret"),
    "key": ({"secretEnv": {"A": {"name": "db", "key": "a/b"}}}, "Expected a key of a Secret"),
    "login": ({"imagePullSecret": "DB"}, "Expected the name of a Secret"),
    "variable": ({"env": {"A B": "c"}}, "Expected a variable's name"),
    "user": ({"user": "0:0:0"}, "Expected USER[:GROUP]"),
    "host": ({"hostname": "-a"}, "Expected a host's name of one part"),
    "DNS": ({"dns": ["nope"]}, "Expected an IP address - at"),
    "address": ({"extraHosts": {"a": "nope"}}, "Expected an IP address, or host-gateway"),
    "name": ({"extraHosts": {"-": "1.2.3.4"}}, "Expected a host's name"),
    "signal": ({"stop": {"signal": "9"}}, "Expected a signal as SIGINT"),
    "platform": ({"platform": "arm"}, "Expected OS/ARCH"),
    "capability": ({"security": {"capabilities": {"add": ["a"]}}}, "Expected a capability as NET_ADMIN"),
    "label": ({"labels": {"a b": "c"}}, "Expected [PREFIX/]NAME"),
}


@pytest.mark.parametrize("field", BAD)
def test_what_a_text_is_to_be_is_said_in_words(field: str) -> None:
    fields, words = BAD[field]
    with pytest.raises(InvalidInput) as error:
        from_builtins({"type": "container", "image": "x", **fields}, Container)
    assert words in error.value.what
    assert "regex" not in error.value.what
    assert " - at " in error.value.what, "and where"
