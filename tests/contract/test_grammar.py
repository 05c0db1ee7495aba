"""Who writes a workload is told in words what a text is to be."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import msgspec
import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.grammar import validation_words
from fleet.contract.image import REFERENCE
from fleet.contract.pod import Pod
from fleet.contract.policy import DevicePolicy
from fleet.contract.volumes import VolumeOrder
from fleet.contract.wire import Container, DeviceInfo, decode_report, from_builtins

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
    "signal": ({"stop": {"signal": "9"}}, "Expected a signal, one of SIGABRT, "),
    "unknown signal": ({"stop": {"signal": "SIGFOO"}}, "SIGUSR1"),
    "platform": ({"platform": "arm"}, "Expected OS/ARCH"),
    "capability": ({"security": {"capabilities": {"add": ["a"]}}}, "Expected a capability without CAP_, one of "),
    "unknown capability": ({"security": {"capabilities": {"drop": ["NET_ADMINS"]}}}, "NET_ADMIN, NET_BIND_SERVICE"),
    "limits": ({"ulimits": [{"name": "nofile", "soft": 2, "hard": 1}]}, "a soft limit is at most the hard one"),
    "no soft limit": ({"ulimits": [{"name": "nofile", "soft": -1, "hard": 1}]}, "a soft limit is at most the hard"),
    "what looks like an address": ({"dns": ["192.0.2.256"]}, "Expected an IP address - at"),
    "option": ({"security": {"options": ["no-new-privileges:true"]}}, "Expected no-new-privileges, seccomp=unconf"),
    "limit": ({"ulimits": [{"name": "NOFILE", "soft": 1, "hard": 1}]}, "Expected a limit, one of as, core, "),
    "permissions": ({"devices": [{"source": "/dev/a", "permissions": "wr"}]}, "Expected permissions as r, rw or rwm"),
    "word": ({"args": ["\0"]}, "Expected a text without a zero byte"),
    "value": ({"env": {"A": "\0"}}, "Expected a text without a zero byte"),
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


def test_every_signal_of_this_machine_may_ask_a_container_to_end() -> None:
    names = {one.name for one in signal.Signals} | {"SIGRTMIN+3", "SIGRTMIN+15", "SIGRTMAX-14", "SIGUSR2", ""}
    for name in names:
        from_builtins({"type": "container", "image": "x", "stop": {"signal": name}}, Container)
    for name in ("SIGFOO", "SIGTERMINATE", "SIGRTMIN+16", "SIGRTMAX-15", "SIG", "TERM", "SIGINT\n"):
        with pytest.raises(InvalidInput, match="one of SIGABRT"):
            from_builtins({"type": "container", "image": "x", "stop": {"signal": name}}, Container)


def test_every_grammar_of_a_workload_and_of_a_policy_has_words() -> None:
    """One that has none would be shown as a text of another form, and nobody knows what that is."""
    patterns = {found for kind in (Container, Pod, DevicePolicy, VolumeOrder) for found in _patterns(kind)}
    assert patterns
    for pattern in patterns:
        said = validation_words(ValueError(f"Expected `str` matching regex {pattern!r}"))
        assert "a text of another form" not in said, pattern


def _patterns(kind: type[Any]) -> set[str]:
    (root,), parts = msgspec.json.schema_components([kind], schema_hook=lambda _: {})
    found = re.findall(r'"pattern": ("(?:[^"\\\\]|\\\\.)*")', json.dumps([root, parts]))
    return {one for one in map(json.loads, found) if one != REFERENCE} - _OF_OTHERS


_OF_OTHERS = {r"^[0-9A-Za-z:.+-]{1,64}\Z", r"^[0-9a-f]{1,32}\Z"}
"""Ids, which no person writes."""


@pytest.mark.parametrize("value", ["zz", "v1", "v0.1.0\n"])
def test_what_a_device_says_is_refused_in_one_line(value: str) -> None:
    """The whole error stood inside another one, twice, with a next step in each."""
    info = {"type": "info", "agentVersion": value, "arch": "a", "os": "b", "kernel": "c", "memory": 1, "disk": 1}
    with pytest.raises(InvalidInput) as error:
        decode_report(json.dumps({**info, "bootId": "x"}).encode(), DeviceInfo)
    assert error.value.what.count("not a valid DeviceInfo") == 1
    assert error.value.what.isprintable()
    assert error.value.next_step == "see what writes as this device"
