"""What crosses a border is bounded: refused, cut, or skipped, and never an exception of another kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.contract.buckets import DEVICE_INFO
from fleet.contract.crd import structural_schema
from fleet.contract.errors import InvalidInput
from fleet.contract.image import REFERENCE
from fleet.contract.limits import MAX_REPORT, MAX_VOLUME_ORDERS, MAX_VOLUMES_SHOWN
from fleet.contract.names import AgentVersion
from fleet.contract.objects import DeploymentSpec, DeviceSpec, DeviceStatus
from fleet.contract.permissions import DEVICE_WRITES, MAX_PAYLOAD
from fleet.contract.volumes import VolumeOutcome, VolumeUsage
from fleet.contract.wire import (
    AgentLease,
    AgentTarget,
    Container,
    Desired,
    DesiredIndex,
    DeviceInfo,
    DeviceState,
    Heartbeat,
    Identity,
    decode,
    decode_report,
    from_builtins,
)

KINDS: tuple[type[Any], ...] = (
    *(AgentLease, AgentTarget, Desired, DesiredIndex, DeviceInfo, DeviceState, Heartbeat, Identity, Container),
)
INFO: dict[str, object] = {
    "type": "info",
    "agentVersion": "v0.1.0",
    "arch": "x86_64",
    "os": "Debian",
    "kernel": "6.1",
    "memory": 1,
    "disk": 1,
    "bootId": "b",
}


def info(**changes: object) -> bytes:
    return msgspec.json.encode(INFO | changes)


@pytest.mark.parametrize("field", ["arch", "os", "kernel", "engine"])
def test_a_long_text_of_a_device_is_cut_and_the_rest_counts(field: str) -> None:
    value = decode_report(info(**{field: "<" * 50_000}), DeviceInfo)
    assert value.memory == 1
    assert getattr(value, field) == "<" * 125 + "..."


@pytest.mark.parametrize("field", ["bootId", "instanceId"])
def test_a_long_id_is_refused_for_two_cut_ones_could_become_the_same(field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        decode_report(info(**{field: "b" * 129}), DeviceInfo)
    beat = {
        "type": "heartbeat",
        "agentVersion": "v0.1.0",
        "instanceId": "i",
        "bootId": "b",
        "sequence": 1,
        "interval": 1,
    }
    with pytest.raises(InvalidInput, match=field):
        decode_report(msgspec.json.encode(beat | {field: "b" * 129}), Heartbeat)


def test_what_a_device_can_store_is_bounded() -> None:
    """Decision 033, and the table in docs/operations.md."""
    assert sum(bucket.largest for bucket in DEVICE_WRITES) == 86 * 1024
    assert all(bucket.largest <= MAX_PAYLOAD for bucket in DEVICE_WRITES)


def test_a_long_message_of_an_upgrade_is_cut() -> None:
    upgrade = {"generation": 1, "phase": "Refused", "reason": "NoSpace", "message": "m" * 9000}
    value = decode_report(info(upgrade=upgrade), DeviceInfo)
    assert value.upgrade is not None
    assert len(value.upgrade.message) == 1024


def test_long_names_of_volumes_are_cut() -> None:
    volume = {"name": "v" * 9000, "deployment": "<" * 9000, "size": 1}
    value = decode_report(info(diskUsage={"free": 1, "floor": 1, "namedVolumes": [volume]}), DeviceInfo)
    assert value.disk_usage is not None
    assert value.disk_usage.named_volumes == (VolumeUsage("v" * 125 + "...", "<" * 125 + "...", 1),)


def test_the_longest_that_is_told_of_volumes_leaves_room_in_an_info() -> None:
    volume = VolumeUsage("v" * 63, "w" * 63, 2**50, "0" * 16, f"{'d' * 63}@{'0' * 16}", 100)
    outcome = VolumeOutcome("0" * 12, "EngineError", "m" * 160)
    told = (volume,) * MAX_VOLUMES_SHOWN, (outcome,) * MAX_VOLUME_ORDERS
    assert len(msgspec.json.encode(told)) < DEVICE_INFO.largest * 3 // 4


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": 2**63 - 1},
        {"memory": -1},
        {"disk": 2**53},
        {"agentVersion": f"v1.2.{'3' * 200}"},
        {"upgrade": {"generation": 2**63, "phase": "Refused", "reason": "NoSpace"}},
        {"upgrade": {"generation": -1, "phase": "Refused", "reason": "NoSpace"}},
    ],
)
def test_a_number_out_of_range_is_no_value(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        decode_report(info(**changes), DeviceInfo)


def test_a_report_of_any_size_costs_no_parsing() -> None:
    with pytest.raises(InvalidInput, match=f"more than {MAX_REPORT}"):
        decode_report(info(arch="x" * MAX_REPORT), DeviceInfo)


DIGITS = b"9" * 4301
HOSTILE = {
    "digits": b'{"type":"state","generation":' + DIGITS + b"}",
    "digits in an unknown field": b'{"type":"state","x":' + DIGITS + b"}",
    "negative digits": b'{"type":"state","generation":-' + DIGITS + b"}",
    "float": b'{"type":"heartbeat","interval":1e400}',
    "deep": b'{"type":"state","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "surrogate": b'{"type":"state","message":"\\ud800"}',
    "bytes": b'{"type":"state","message":"\xff"}',
    "double": b'{"type":"state","type":"info"}',
    "nothing": b"",
    "null": b"null",
    "zero": b"\x00",
    "byte order mark": b"\xef\xbb\xbf{}",
    "nan": b'{"type":"heartbeat","interval":NaN}',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", [decode, decode_report])
def test_hostile_json_is_refused_in_words(
    data: bytes, kind: type[Any], read: Callable[[bytes, type[Any]], object]
) -> None:
    with pytest.raises(InvalidInput):
        read(data, kind)


@given(st.binary(max_size=300), st.sampled_from(KINDS))
def test_any_bytes_are_a_value_or_refused(data: bytes, kind: type[Any]) -> None:
    for read in (decode, decode_report):
        try:
            read(data, kind)
        except InvalidInput:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(KINDS), st.data())
def test_lies_in_every_field_are_a_value_or_refused(kind: type[Any], data: st.DataObject) -> None:
    config = kind.__struct_config__
    fields = {name: data.draw(JSON) for name in kind.__struct_encode_fields__}
    body = {"type": config.tag, **fields} if config.tag else fields
    try:
        encoded = msgspec.json.encode(body)
    except (msgspec.EncodeError, ValueError, OverflowError):
        return
    for read in (decode, decode_report):
        try:
            read(encoded, kind)
        except InvalidInput:
            continue


@pytest.mark.parametrize(
    "health",
    [{"interval": 1e300}, {"interval": 0}, {"timeout": 1e9}, {"retries": 2**31}, {"startPeriod": 1e300}],
)
def test_times_of_a_health_check_are_bounded(health: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="health"):
        from_builtins({"image": "a", "health": {"command": ["true"], **health}}, Container)


@pytest.mark.parametrize(
    "image",
    [
        *(
            "busybox",
            "busybox:1",
            "library/busybox:1.36",
            "localhost/a",
            "localhost:5000/a/b:c",
            "registry.example.org/a",
        ),
        *("r.example.org:5000/team/app@sha256:" + "a" * 64, "a:b@sha256:" + "0" * 64, "[::1]:5000/a", "a__b/c.d-e"),
        *("r:65535/a", "r:1/a"),
        "Registry.Example.ORG/team/app:V1",
    ],
)
def test_image_references_that_can_be(image: str) -> None:
    assert from_builtins({"image": image}, Container).image == image


@pytest.mark.parametrize(
    "image",
    [
        *("", " ", "https://registry.example.org/team/app:1", "Busybox", "a/B", "a:", "a:b:c", "a@", "a@sha256:x"),
        *("a b", "a\n", "/a", "a/", "a//b", "-a", "a:" + "t" * 129, "a..b", "a" * 513, "a@sha256:" + "a" * 31, "é"),
        *("r:0/a", "r:65536/a", "r:99999/a", "r:080/a", "[::1]:70000/a:1"),
    ],
)
def test_image_references_that_cannot_be(image: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        from_builtins({"image": image}, Container)
    if image and len(image) <= 512:
        assert "[HOST[:PORT]/]NAME[:TAG][@DIGEST]" in raised.value.what
        assert REFERENCE not in raised.value.what


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("https://registry.example.org/team/app:1", "leave out 'https://'"),
        ("docker://busybox", "leave out 'docker://'"),
        ("busybox:1\n", "leave out the white space"),
        ("registry.example/Team/app:1", "a repository has no capital letters"),
    ],
)
def test_a_common_slip_is_told(image: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        from_builtins({"image": image}, Container)


@pytest.mark.parametrize("fields", [{"command": [""]}, {"command": ["", "a"]}, {"health": {"command": [""]}}])
def test_a_program_has_a_name(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="the first word of"):
        from_builtins({"image": "a", **fields}, Container)


@pytest.mark.parametrize("name", ["", "A=B", "A B", "A\n", "1A", "é", "A" * 257])
def test_names_of_variables_that_kubernetes_would_refuse(name: str) -> None:
    with pytest.raises(InvalidInput, match="env"):
        from_builtins({"image": "a", "env": {name: "1"}}, Container)


def test_one_port_of_the_device_is_named_once_for_a_protocol() -> None:
    same = {"host": 80, "container": 1}
    with pytest.raises(InvalidInput, match="port 80/tcp of the device is named 2 times"):
        from_builtins({"image": "a", "ports": [same, same | {"container": 2}]}, Container)
    from_builtins({"image": "a", "ports": [same, same | {"protocol": "udp"}]}, Container)


@pytest.mark.parametrize("value", ["a b", "-a", "a" * 64, "é", "a/b", "a\n"])
def test_label_values_that_kubernetes_would_refuse(value: str) -> None:
    with pytest.raises(InvalidInput):
        from_builtins({"labels": {"site": value}}, DeviceSpec)


@pytest.mark.parametrize("key", ["", "a b", "-a", "a" * 64, "é", "a/b/c", "/a", "A.B/c", "a/", "a\n"])
def test_label_keys_that_kubernetes_would_refuse(key: str) -> None:
    with pytest.raises(InvalidInput):
        from_builtins({"labels": {key: "v"}}, DeviceSpec)


def test_a_version_is_short_enough_for_its_column() -> None:
    with pytest.raises(InvalidInput):
        AgentVersion(f"v1.2.3-{'a' * 60}")


@pytest.mark.parametrize("model", [DeviceSpec, DeviceStatus, DeploymentSpec])
def test_everything_in_kubernetes_is_bounded(model: type[Any]) -> None:
    """The schema has a limit at every number, text and collection; the generator takes it from the type."""
    unbounded = list(_unbounded(structural_schema(model), "$"))
    assert not unbounded


def _unbounded(node: dict[str, Any], path: str) -> Iterator[str]:
    kind = node["type"]
    wanted = {"string": "maxLength", "integer": "maximum", "number": "maximum", "array": "maxItems"}.get(kind)
    if kind == "object" and "additionalProperties" in node:
        wanted = "maxProperties"
    if wanted and wanted not in node and "enum" not in node:
        yield path
    for name, child in node.get("properties", {}).items():
        yield from _unbounded(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from _unbounded(node[key], f"{path}[]")
