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
from fleet.contract.image import REFERENCE
from fleet.contract.limits import LARGEST, OneDay
from fleet.contract.names import AgentVersion, DeviceId, Digest
from fleet.contract.upgrade import (
    Manifest,
    SignedManifest,
    TrustedKey,
    TrustedKeys,
    UpgradePhase,
    UpgradeReason,
    UpgradeStatus,
)
from fleet.contract.wire import (
    AgentLease,
    AgentTarget,
    Container,
    Desired,
    DesiredIndex,
    DeviceInfo,
    DeviceState,
    Health,
    Heartbeat,
    Identity,
    IdentityState,
    Phase,
    Port,
    Protocol,
    Reason,
    Restart,
    decode,
    encode,
)
from tests.contract.samples import SAMPLES

C = TypeVar("C", AgentConfig, CalloutConfig, OperatorConfig)

texts = st.text(max_size=50)
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
env_names = st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), min_size=1, max_size=50)
images = st.from_regex(REFERENCE, fullmatch=True).filter(lambda one: len(one) <= 512)
counts = st.integers(0, LARGEST)
seconds = st.floats(0, OneDay, allow_nan=False)
positive = st.floats(0.1, OneDay, allow_nan=False)
devices = st.from_regex(DeviceId.grammar, fullmatch=True).map(DeviceId)
numbers = st.tuples(*(st.integers(0, 999).map(str) for _ in range(3))).map(".".join)
suffixes = st.sampled_from(["", "-rc.1", "+build.7", "-alpha-1.0+x"])
versions = st.tuples(numbers, suffixes).map(lambda parts: AgentVersion(f"v{parts[0]}{parts[1]}"))
digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(f"sha256:{raw.hex()}"))
ports = st.builds(Port, st.integers(1, 65535), st.integers(1, 65535), st.sampled_from(Protocol))
healths = st.builds(
    Health,
    command=st.lists(words, min_size=1, max_size=3).map(tuple),
    interval=positive,
    timeout=positive,
    retries=st.integers(1, 100),
    start_period=seconds,
)
containers = st.builds(
    Container,
    image=images,
    command=st.lists(words, max_size=3).map(tuple),
    args=st.lists(words, max_size=3).map(tuple),
    env=st.dictionaries(env_names, words, max_size=3),
    ports=st.lists(ports, max_size=3, unique_by=lambda port: (port.host, port.protocol)).map(tuple),
    restart=st.sampled_from(Restart),
    health=st.none() | healths,
)

upgrades = st.builds(
    UpgradeStatus,
    counts,
    st.sampled_from(UpgradePhase),
    st.sampled_from(UpgradeReason),
    texts,
    *(st.none() | versions for _ in range(4)),
    seconds,
)

WIRE: dict[str, st.SearchStrategy[msgspec.Struct]] = {
    "desired": st.builds(Desired, counts, containers),
    "desired-index": st.builds(DesiredIndex, st.dictionaries(devices.map(str), counts, max_size=5)),
    "device-state": st.builds(
        DeviceState, counts, st.sampled_from(Phase), st.sampled_from(Reason), texts, texts, counts, seconds
    ),
    "device-info": st.builds(
        DeviceInfo, versions, texts, texts, texts, counts, counts, texts, texts, texts, st.none() | upgrades
    ),
    "heartbeat": st.builds(Heartbeat, versions, texts, texts, counts, positive, counts, seconds),
    "identity": st.builds(Identity, devices, st.sampled_from(IdentityState)),
    "agent-target": st.builds(
        AgentTarget, versions, digests, counts, texts, counts, st.booleans(), texts, st.booleans(), counts
    ),
    "agent-lease": st.builds(AgentLease, texts, counts, seconds, texts),
    "manifest": st.builds(
        Manifest,
        versions,
        digests,
        st.integers(1, 2**53),
        st.lists(digests, max_size=3).map(tuple),
        texts,
        st.lists(texts, max_size=3).map(tuple),
        seconds,
        counts,
    ),
    "signed-manifest": st.builds(SignedManifest, texts, texts, texts),
    "trusted-keys": st.builds(
        TrustedKeys, st.lists(st.builds(TrustedKey, texts, texts, st.booleans()), max_size=3).map(tuple)
    ),
}

auths = st.builds(FleetDeviceAuth, texts, texts, st.builds(MachineKey, texts, texts, texts, texts, texts), texts)
agents = st.builds(AgentConfig, devices, texts, auths, texts, positive, positive)
callouts = st.builds(
    CalloutConfig,
    *(texts for _ in range(9)),
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


def test_every_wire_type_has_a_property() -> None:
    assert set(WIRE) == {name for name, value in SAMPLES.items() if value.__struct_config__.tag is not None}


@given(st.one_of(*WIRE.values()))
def test_wire_values_come_back_equal(value: msgspec.Struct) -> None:
    assert decode(encode(value), type(value)) == value


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | texts | counts, st.lists).map(json.dumps))
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
