"""Versions N-2 to N+1 understand each other: the bytes in `golden` are what devices in the field hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.contract.buckets import APP_BUCKETS, DESIRED_INDEX, IDENTITIES
from fleet.contract.errors import InvalidInput
from fleet.contract.names import DeviceId
from fleet.contract.wire import DesiredIndex, DeviceState, decode, encode
from tests.contract.samples import SAMPLES

GOLDEN = Path(__file__).parent / "golden"
KINDS = list(SAMPLES)
TAGGED = [name for name, value in SAMPLES.items() if value.__struct_config__.tag is not None]


def golden(version: str, name: str) -> bytes:
    return (GOLDEN / version / f"{name}.json").read_bytes()


def survives(data: bytes, kind: type[msgspec.Struct]) -> bool:
    """Whether every field in `data` is still known: a renamed or removed one would be lost on the way."""
    return json.loads(encode(decode(data, kind))) == json.loads(data)


def test_every_bucket_has_golden_files() -> None:
    kinds = {bucket.kind.__name__ for bucket in (*APP_BUCKETS, DESIRED_INDEX, IDENTITIES)}
    assert kinds <= {type(value).__name__ for value in SAMPLES.values()}
    for version in ("n-2", "n-1", "n", "n+1"):
        assert {path.stem for path in (GOLDEN / version).glob("*.json")} == set(SAMPLES)


@pytest.mark.parametrize("name", KINDS)
def test_today_writes_what_it_wrote(name: str) -> None:
    value = SAMPLES[name]
    assert decode(golden("n", name), type(value)) == value
    assert json.loads(encode(value)) == json.loads(golden("n", name))


@pytest.mark.parametrize("name", KINDS)
def test_no_field_was_renamed_or_removed(name: str) -> None:
    for version in ("n-2", "n-1", "n"):
        old = decode(golden(version, name), type(SAMPLES[name]))
        written = json.loads(encode(old))
        lost = contains(json.loads(golden(version, name)), written)
        assert not lost, f"{version} has {lost}, which today's reader does not know"


def contains(old: Any, new: Any, path: str = "$") -> list[str]:  # noqa: ANN401
    """Paths of `old` whose value is not the same in `new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [lost for key in old for lost in contains(old[key], new.get(key), f"{path}.{key}")]  # pyright: ignore
    return [] if old == new else [path]


@pytest.mark.parametrize("name", KINDS)
def test_every_field_of_today_is_in_the_golden_file(name: str) -> None:
    """Whoever adds a field adds it here, or its next renaming would not be noticed."""
    value = SAMPLES[name]
    written = json.loads(golden("n", name))
    for field in msgspec.structs.fields(value):
        assert field.encode_name in written, f"{name}.{field.encode_name} is missing in golden/n"
        if not field.required:
            assert getattr(value, field.name) != default_of(field), f"{name}.{field.name} is left at its default"


def default_of(field: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401
    return field.default_factory() if callable(field.default_factory) else field.default


@pytest.mark.parametrize("name", KINDS)
def test_what_older_versions_wrote_is_read(name: str) -> None:
    kind = type(SAMPLES[name])
    for version in ("n-2", "n-1"):
        value = decode(golden(version, name), kind)
        absent = {f.name: default_of(f) for f in msgspec.structs.fields(kind) if not f.required}
        written = json.loads(golden(version, name))
        for field in msgspec.structs.fields(kind):
            if field.encode_name not in written:
                assert getattr(value, field.name) == absent[field.name], f"{version}: {field.name}"


@pytest.mark.parametrize("name", KINDS)
def test_what_a_newer_version_adds_is_passed_over(name: str) -> None:
    value = SAMPLES[name]
    assert b"addedLater" in golden("n+1", name)
    assert decode(golden("n+1", name), type(value)) == value


def test_the_check_notices_a_renamed_and_a_removed_field() -> None:
    """A test of the test: it fails on exactly what it is there for."""

    class Renamed(msgspec.Struct, frozen=True, rename="camel", tag="identity"):
        device_name: DeviceId | None = None
        state: str = ""

    class Removed(msgspec.Struct, frozen=True, rename="camel", tag="identity"):
        state: str

    assert survives(golden("n", "identity"), type(SAMPLES["identity"]))
    assert not survives(golden("n", "identity"), Renamed)
    assert not survives(golden("n", "identity"), Removed)


@pytest.mark.parametrize("name", TAGGED)
def test_a_value_without_its_tag_or_with_anothers_is_refused(name: str) -> None:
    """Also when its fields would fit: a write's acknowledgement was once a valid, empty index."""
    kind = type(SAMPLES[name])
    untagged = {key: value for key, value in json.loads(golden("n", name)).items() if key != "type"}
    for data in (untagged, {**untagged, "type": "another"}, {**untagged, "type": None}, {**untagged, "type": 1}):
        with pytest.raises(InvalidInput):
            decode(json.dumps(data).encode(), kind)


def test_an_acknowledgement_is_no_index() -> None:
    with pytest.raises(InvalidInput):
        decode(b'{"stream":"KV_agent-lease","seq":7}', DesiredIndex)
    assert decode(b'{"type":"index"}', DesiredIndex) == DesiredIndex()


BAD_VALUES: dict[str, bytes] = {
    "empty": b"",
    "invalid JSON": b'{"type":"state",',
    "not UTF-8": b'{"type":"state","generation":1,"phase":"Running","reason":"Started","message":"\xff\xfe"}',
    "null": b"null",
    "a number": b"1",
    "a list": b"[]",
    "two values": b"{}{}",
    "unknown variant": b'{"type":"state","generation":1,"phase":"Levitating","reason":"Started"}',
    "wrong type": b'{"type":"state","generation":"one","phase":"Running","reason":"Started"}',
    "missing field": b'{"type":"state","generation":1,"phase":"Running"}',
    "1 MB": b'{"type":"state","message":"' + b"x" * 1024 * 1024,
    "1 MB of another type": b'{"type":"state","generation":"' + b"9" * 1024 * 1024 + b'"}',
    "deep": b'{"type":"state","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("data", BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_values_are_one_short_error(data: bytes) -> None:
    with pytest.raises(InvalidInput) as error:
        decode(data, DeviceState)
    assert "DeviceState" in error.value.what
    assert len(error.value.what) < 500
