"""One value of all states: it always fits, and one bad entry costs none of the others."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.contract.buckets import DEVICE_STATE
from fleet.contract.errors import InvalidInput
from fleet.contract.limits import MAX_DEPLOYMENTS
from fleet.contract.permissions import MAX_PAYLOAD
from fleet.contract.states import LARGEST, DeviceStates, entry, fitted, gathered, read_state, state_of
from fleet.contract.wire import ContainerState, DeviceState, Phase, Reason, decode, decode_report, encode

RUNNING = DeviceState(7, Phase.RUNNING, Reason.STARTED, "it is up", "c0ffee", 3, 1_800_000_000.5)


def states(number: int, message: str, name: int = 12) -> dict[str, DeviceState]:
    full = DeviceState(7, Phase.RESTARTING, Reason.INVALID_DESIRED_STATE, message, "c" * 64, 3, 1_800_000_000.5)
    return {f"d{place}".ljust(name, "x"): full for place in range(number)}


def test_what_is_said_is_read() -> None:
    value = decode_report(encode(gathered({"web": RUNNING})), DeviceStates)
    assert state_of(value, "web") == RUNNING
    assert state_of(value, "other") is None
    assert state_of(None, "web") is None


def test_a_message_is_cut_before_anything_is_left_out() -> None:
    few = gathered(states(40, "m" * 1024))
    assert len(read_state("d0xxxxxxxxxx", few.states["d0xxxxxxxxxx"]).message) == 1024
    many = gathered(states(200, "m" * 1024))
    assert len(many.states) == 200
    assert 0 < len(read_state("d0xxxxxxxxxx", many.states["d0xxxxxxxxxx"]).message) < 1024


def test_the_containers_of_pods_go_before_the_shorter_messages() -> None:
    each = tuple(ContainerState(f"c{place}", Phase.RUNNING, Reason.STARTED) for place in range(32))
    pods = {name: msgspec.structs.replace(one, containers=each) for name, one in states(20, "m" * 200).items()}
    kept = read_state("d0xxxxxxxxxx", gathered(pods).states["d0xxxxxxxxxx"])
    assert (kept.containers, len(kept.message)) == (each, 200)
    pods = {name: msgspec.structs.replace(one, containers=each) for name, one in states(100, "m" * 200).items()}
    kept = read_state("d0xxxxxxxxxx", gathered(pods).states["d0xxxxxxxxxx"])
    assert (kept.containers, len(kept.message)) == ((), 200)


@pytest.mark.parametrize("name", [12, 30])
def test_as_many_as_a_device_may_have_fit(name: int) -> None:
    value = gathered(states(MAX_DEPLOYMENTS, "<" * 1024, name))
    assert len(value.states) == MAX_DEPLOYMENTS
    assert len(encode(value)) <= LARGEST
    kept = read_state(*next(iter(value.states.items())))
    assert (kept.generation, kept.phase, kept.reason) == (7, Phase.RESTARTING, Reason.INVALID_DESIRED_STATE)


@given(st.integers(0, 700), st.text(max_size=300), st.integers(5, 63))
def test_any_value_can_be_sent(number: int, message: str, name: int) -> None:
    value = gathered(states(number, message, name))
    assert len(encode(value)) <= LARGEST < DEVICE_STATE.largest < MAX_PAYLOAD
    assert decode(encode(value), DeviceStates) == value


@pytest.mark.parametrize(
    "bad", [b'{"generation":-1}', b'{"phase":"Levitating"}', b"[]", b'"web"', b'{"generation":' + b"9" * 5000 + b"}"]
)
def test_an_entry_that_cannot_be_read_costs_none_of_the_others(bad: bytes) -> None:
    sent = b'{"type":"states","states":{"bad":' + bad + b',"web":' + bytes(entry(RUNNING)) + b"}}"
    value = decode_report(sent, DeviceStates)
    assert state_of(value, "web") == RUNNING
    with pytest.raises(InvalidInput):
        state_of(value, "bad")


def test_a_name_that_cannot_be_a_deployments_is_refused() -> None:
    with pytest.raises(InvalidInput, match="deployment name"):
        read_state("a.b", entry(RUNNING))


def test_a_long_text_is_cut_and_the_rest_counts() -> None:
    long = msgspec.Raw(b'{"generation":7,"phase":"Running","reason":"Started","message":"' + b"<" * 5000 + b'"}')
    assert len(read_state("web", long).message) == 1024


def test_a_value_that_grew_too_large_is_made_to_fit_without_what_cannot_be_read() -> None:
    entries = {name: entry(one) for name, one in states(MAX_DEPLOYMENTS, "m" * 900).items()}
    value = fitted(DeviceStates({**entries, "bad": msgspec.Raw(b"[]")}))
    assert len(encode(value)) <= LARGEST
    assert "bad" not in value.states
    assert len(value.states) == MAX_DEPLOYMENTS
    small = DeviceStates({"bad": msgspec.Raw(b"[]")})
    assert fitted(small) is small
