"""decode(encode(x)) == x for every wire type, and load_config(render_config(x)) == x for every configuration."""

from __future__ import annotations

import json
import stat
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.contract.config import (
    AgentConfig,
    CalloutConfig,
    FleetDeviceAuth,
    MachineKey,
    OperatorConfig,
    load_config,
    render_config,
)
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.limits import OneDay
from fleet.contract.names import DeviceId
from fleet.contract.wire import decode, encode
from tests.contract.anything import values_of
from tests.contract.samples import SAMPLES

C = TypeVar("C", AgentConfig, CalloutConfig, OperatorConfig)

texts = st.text(max_size=50)
positive = st.floats(0.1, OneDay, allow_nan=False)
devices = st.from_regex(DeviceId.grammar, fullmatch=True).map(DeviceId)

WIRE: dict[str, st.SearchStrategy[msgspec.Struct]] = {
    name: values_of(type(value)) for name, value in SAMPLES.items() if value.__struct_config__.tag is not None
}

auths = st.builds(FleetDeviceAuth, texts, texts, st.builds(MachineKey, texts, texts, texts, texts, texts), texts)
sockets = st.from_regex(r"\A/[^\x00-\x1f]{1,50}\Z")
agents = st.builds(AgentConfig, devices, texts, auths, sockets, positive, positive)
callouts = st.builds(
    CalloutConfig,
    *(texts for _ in range(8)),
    *(st.lists(texts, max_size=8).map(tuple) for _ in range(2)),
    texts,
    health_port=st.integers(0, 65535),
    answer_within=positive,
    max_concurrent=st.integers(1, 10_000),
)
operators = st.builds(
    OperatorConfig,
    *(texts for _ in range(8)),
    health_port=st.integers(0, 65535),
    resync_interval=positive,
    offline_after_intervals=positive,
)


@given(st.one_of(*WIRE.values()))
def test_wire_values_come_back_equal(value: msgspec.Struct) -> None:
    assert decode(encode(value), type(value)) == value


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | texts | st.integers(), st.lists).map(json.dumps)
)
def test_nothing_else_is_taken_for_a_value(data: bytes | str) -> None:
    """Whatever the bytes, the answer is a value or `InvalidInput`; never another exception."""
    for sample in SAMPLES.values():
        try:
            decode(data.encode() if isinstance(data, str) else data, type(sample))
        except InvalidInput:
            continue
        raise AssertionError(f"{data!r} was taken for a {type(sample).__name__}")


def come_back(config: C) -> C:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.json"
        path.touch(0o600)
        path.write_bytes(render_config(config))
        return load_config(path, type(config))


@settings(max_examples=50)
@given(agents)
def test_agent_configurations_come_back_equal(config: AgentConfig) -> None:
    assert come_back(config) == config


@settings(max_examples=50)
@given(callouts)
def test_callout_configurations_come_back_equal(config: CalloutConfig) -> None:
    assert come_back(config) == config


@settings(max_examples=50)
@given(operators)
def test_operator_configurations_come_back_equal(config: OperatorConfig) -> None:
    assert come_back(config) == config


def test_a_configuration_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    config = SAMPLES["agent-config"]
    assert isinstance(config, AgentConfig)
    path.write_bytes(render_config(config))
    for mode in (0o644, 0o640, 0o602):
        path.chmod(mode)
        with pytest.raises(InvalidInput, match="holds a secret") as error:
            load_config(path, AgentConfig)
        assert error.value.next_step == f"chmod 600 {path}"
    path.chmod(stat.S_IRUSR)
    assert load_config(path, AgentConfig) == config


def test_a_broken_configuration_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    with pytest.raises(NotFound, match=str(path)):
        load_config(path, AgentConfig)
    config = SAMPLES["agent-config"]
    assert isinstance(config, AgentConfig)
    whole = render_config(config)
    path.touch(0o600)
    for broken in (b"", whole[:50], whole.replace(b'"pi-1"', b'"PI 1"'), whole.replace(b'"natsUrl"', b'"url"')):
        path.write_bytes(broken)
        with pytest.raises(InvalidInput, match=str(path)):
            load_config(path, AgentConfig)
