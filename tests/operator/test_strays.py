"""What does not belong in a bucket, or among the objects, is told once, counted, skipped; the operator never ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fleet.contract.buckets import (
    AGENT_LEASE,
    AGENT_TARGET,
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
    IDENTITIES,
    Bucket,
)
from fleet.contract.objects import DEVICES
from fleet.contract.wire import DesiredIndex
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.nats import Nats
from tests.support.operator import Operator

Name = Callable[[str], str]

BUCKETS = (DESIRED_STATE, DEVICE_STATE, DEVICE_INFO, DEVICE_HEARTBEAT, AGENT_TARGET, AGENT_LEASE, IDENTITIES)
VALUES = {
    "json": b"{",
    "utf8": b"\xff\xfe",
    "empty": b"",
    "null": b"null",
    "types": b'{"type":"state","generation":"one","phase":"Running","reason":"Started"}',
    "variant": b'{"type":"desired","generation":1,"workload":{"type":"spaceship"}}',
    "kind": b'{"type":"something-else"}',
    "megabyte": b'{"type":"' + b"x" * (1024 * 1024 - 200) + b'"}',
}


@pytest.fixture(scope="module")
def operator(kinds: Kube, nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator of this module that reads everything again every half second."""
    running = Operator(kinds, nats, tmp_path_factory.mktemp("operator"), kinds.namespace(), resync=0.5)
    running.start_ready()
    yield running
    running.close()


def plant(operator: Operator, bucket: Bucket[Any], key: str, data: bytes) -> None:
    probe = operator.registry if bucket is IDENTITIES else operator.keys
    # As much of it as the stream takes.
    probe.put_raw(bucket, key, data if bucket.largest < 0 else data[: bucket.largest])


def told(operator: Operator, place: str, key: str) -> int:
    lines = operator.log()
    return sum((line.get("place"), line.get("key")) == (place, key) for line in lines)


def reads(operator: Operator) -> float:
    return operator.metric("fleet_operator_pass_seconds_count")


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.name)
def test_bad_keys_and_values_are_told_once_and_skipped(operator: Operator, bucket: Bucket[Any], name: Name) -> None:
    assert operator.process
    pid, device = operator.process.pid, name("pi")
    skipped = {f"{device}.{value}" if "." in _good(bucket) else f"{device}{value}": VALUES[value] for value in VALUES}
    skipped |= {f"UPPER{device}": b"{}", f"é{device}": b"x"}
    if bucket.keys == ">":
        skipped |= {f"{device}.a.b.c": b"{}", f"{device}-.x": b"x"}
    if bucket is IDENTITIES:
        # Upper case is fine in a token's subject.
        del skipped[f"UPPER{device}"]
    before = operator.metric(f'fleet_operator_skipped_keys_total{{place="{bucket.name}"}}')
    for key, data in skipped.items():
        plant(operator, bucket, key, data)
    counted = f'fleet_operator_skipped_keys_total{{place="{bucket.name}"}}'
    wait_until(
        lambda: operator.metric(counted) - before, "all are counted", timeout=10, until=lambda n: n == len(skipped)
    )
    # Read everything again, more than once: nothing is told or counted twice.
    seen = reads(operator)
    wait_until(lambda: reads(operator) - seen, "three more passes", timeout=30, until=lambda passes: passes >= 3)
    assert {key: told(operator, bucket.name, key) for key in skipped} == dict.fromkeys(skipped, 1)
    assert operator.metric(counted) - before == len(skipped)
    assert operator.process.poll() is None
    assert operator.process.pid == pid
    assert operator.readiness() == ""
    # And it still does its work.
    operator.add_device(device, subject=f"sub-{device}")
    operator.await_condition(DEVICES, device, "Enrolled", ("True", "IdentityRegistered"))


def _good(bucket: Bucket[Any]) -> str:
    return "device.deployment" if bucket == DESIRED_STATE else "device"


def test_well_formed_keys_of_nobody_are_told_once_and_left_alone(operator: Operator, name: Name) -> None:
    ghost = name("ghost")
    operator.keys.put(DESIRED_INDEX, ghost, DesiredIndex({"web": 1}))
    operator.beat(ghost)
    places = (f"{DESIRED_STATE.name} of no device", f"{DEVICE_HEARTBEAT.name} of no device")
    for place in places:
        wait_until(lambda place=place: told(operator, place, ghost), f"{place}: it is told", timeout=30)
    seen = reads(operator)
    wait_until(lambda: reads(operator) - seen, "three more passes", timeout=30, until=lambda passes: passes >= 3)
    assert [told(operator, place, ghost) for place in places] == [1, 1]
    assert operator.keys.get(DESIRED_INDEX, ghost) == DesiredIndex({"web": 1})
    operator.add_device(ghost)
    wait_until(
        lambda: operator.keys.get(DESIRED_INDEX, ghost),
        "once there is a device, its index is right",
        timeout=30,
        until=lambda index: index == DesiredIndex({}),
    )


def test_a_bad_value_in_a_key_of_ours_is_put_right(operator: Operator, name: Name) -> None:
    device = name("pi")
    operator.add_device(device, subject=f"sub-{device}")
    operator.await_condition(DEVICES, device, "Enrolled", ("True", "IdentityRegistered"))
    plant(operator, DESIRED_INDEX, device, b"{")
    plant(operator, IDENTITIES, f"sub-{device}", b"{")
    wait_until(lambda: operator.keys.raw(DESIRED_INDEX, device), "the index is well", timeout=30, until=_parses)
    wait_until(lambda: operator.registry.raw(IDENTITIES, f"sub-{device}"), "so is it", timeout=30, until=_parses)


def _parses(data: bytes | None) -> bool:
    return data is not None and data != b"{"


def test_a_heartbeat_that_does_not_parse_is_no_sign_of_death(operator: Operator, name: Name) -> None:
    device = name("pi")
    operator.add_device(device)
    operator.beat(device, interval=3600)
    operator.await_condition(DEVICES, device, "Online", ("True", "HeartbeatReceived"))
    plant(operator, DEVICE_HEARTBEAT, device, b"{")
    wait_until(lambda: told(operator, DEVICE_HEARTBEAT.name, device), "it is told", timeout=30)
    seen = reads(operator)
    wait_until(lambda: reads(operator) - seen, "two more passes", timeout=30, until=lambda passes: passes >= 2)
    assert operator.condition(DEVICES, device, "Online") == ("True", "HeartbeatReceived")
