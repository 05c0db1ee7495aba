"""The hostile device is repeatable, and attacks this machine only; the judgement on what was seen can fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec
import pytest

from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey
from fleet.contract.names import DeviceId
from fleet.contract.permissions import DEVICE_WRITES, MAX_PAYLOAD
from fleet.contract.states import DeviceStates, read_state
from fleet.contract.wire import AgentLease, DeviceInfo, DeviceState, Heartbeat, decode_report
from fleet.operator.meter import Flood, Meter
from harness.devices.hostile import lies
from harness.devices.hostile.assault import ATTACKS
from harness.devices.hostile.grammar import sentence
from harness.devices.hostile.pace import Pace
from harness.devices.hostile.raw_connection import RawConnection, message
from harness.devices.hostile.readers import FORGED
from harness.devices.hostile.thief import Thief
from harness.errors import Misused
from harness.scenario.command import Result
from harness.siege.findings import Bounds, Findings, broken
from harness.siege.read import misread


def _thief(seed: int) -> Thief:
    auth = FleetDeviceAuth("https://id.example.org", "1", MachineKey("1", "1", ""), "")
    config = AgentConfig(DeviceId("pi-3"), "tls://nats.example.org:4222", auth)
    return Thief(config, random.Random(seed), ("pi-1", "pi-2"))


def test_the_same_seed_says_the_same() -> None:
    said = [[sentence(thief) for _ in range(500)] for thief in (_thief(1), _thief(1), _thief(2))]
    assert said[0] == said[1] != said[2]


def test_the_grammar_goes_past_what_a_client_library_can_say() -> None:
    thief = _thief(3)
    said = b"".join(sentence(thief) for _ in range(500))
    with pytest.raises(UnicodeDecodeError):
        said.decode()
    assert b"HPUB" in said
    assert b"$KV.desired-state.pi-1" in said


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        (lies.info, DeviceInfo),
        (lies.out_of_order, DeviceInfo),
        (lies.state, DeviceState),
        (lies.states, DeviceStates),
        (lies.lease, AgentLease),
        (partial(lies.heartbeat, honest=True), Heartbeat),
    ],
)
def test_a_lie_is_taken_for_what_it_says(lie: Callable[[random.Random], bytes], kind: type[msgspec.Struct]) -> None:
    """What does not parse misleads nobody."""
    chance = random.Random(5)
    for _ in range(200):
        said = decode_report(lie(chance), kind)
        for name, raw in said.states.items() if isinstance(said, DeviceStates) else ():
            read_state(name, raw)


def test_a_patient_thief_stays_below_what_counts_as_a_flood() -> None:
    clock = [0.0]
    floods: list[Flood] = []
    meter, pace = Meter(floods.append), Pace(lambda: clock[0])
    chance = random.Random(6)
    for _ in range(20_000):
        messages, size = chance.choice(((1, 300), (1, 16_000), (13, 4_000)))
        clock[0] += pace.wait(messages, size)
        for _ in range(messages):
            meter.count(b"pi-3", size // messages, clock[0])
    assert not floods
    assert clock[0] > 60


def test_what_the_grammar_says_is_beyond_the_buckets_and_within_the_connection() -> None:
    """A larger message ends the connection, and what would follow is never heard."""
    thief = _thief(4)
    sizes = [len(sentence(thief)) for _ in range(2000)]
    assert max(bucket.largest for bucket in DEVICE_WRITES) < max(sizes) < MAX_PAYLOAD


def test_a_message_counts_its_bytes() -> None:
    assert message(b"a", b"xy", reply=b"r") == b"PUB a r 2\r\nxy\r\n"
    assert message(b"a", b"xy", headers=b"NATS/1.0\r\n\r\n") == b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nxy\r\n"


def test_another_machine_is_not_attacked() -> None:
    with pytest.raises(Misused, match=r"192\.0\.2\.1 is not this machine"):
        asyncio.run(RawConnection.open("tls://192.0.2.1:4222", ""))


def test_every_attack_says_what_it_would_break() -> None:
    assert all(attack.purpose for attack in ATTACKS.values())
    assert len(ATTACKS) > 20


_SOUND = Findings(rounds=3, silence={"pi-1": 1.2}, delivered=[1.0], status=[0.1], memory={"nats": 90}, disk={"logs": 1})


def test_what_kept_every_promise_is_not_reproached() -> None:
    assert broken(_SOUND, Bounds()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rounds": 0}, "no change"),
        ({"silence": {"pi-1": 9.0}}, "pi-1 was silent 9.0 s"),
        ({"delivered": [1.0, 20.0]}, "a change took 20.0 s"),
        ({"delivered": [20.0], "before": (7.9, 0.0)}, "a change took 20.0 s; 19.8 s is right"),
        ({"status": [0.1, 3.0]}, "its status came later by 3.0 s"),
        ({"revoked": 1.5}, "outlived the command by 1.5 s"),
        ({"memory": {"nats": 9000.0}}, "nats used 9000 MiB"),
        ({"disk": {"logs": 9000.0}}, "logs grew by 9000 MiB"),
        ({"offline": {"pi-1"}}, "pi-1 was shown as offline"),
        ({"deaths": ["operator was started 1 times more"]}, "operator was started"),
        ({"lost": ["change 4 is nowhere"]}, "change 4 is nowhere"),
    ],
)
def test_a_broken_promise_is_named(change: dict[str, object], said: str) -> None:
    (sentence,) = broken(replace(_SOUND, **change), Bounds())  # pyright: ignore[reportArgumentType]
    assert said in sentence


@pytest.mark.parametrize(
    ("result", "honest", "found"),
    [
        (Result("logs", 0, "a line\n", "", 1), True, []),
        (Result("logs", 8, "", "error: pi-1 does not answer", 15), True, []),
        (Result("logs", 0, f"{FORGED}\n", "", 1), False, []),
        (Result("logs", 0, f"{FORGED}\n", "", 1), True, ["has lines of another device"]),
        (Result("logs", None, "", "", 120), False, ["ended with None"]),
        (Result("logs", 70, "", "Traceback", 1), False, ["ended with 70"]),
        (Result("logs", 0, "\x1b[2J\n", "", 1), False, ["moves the cursor"]),
    ],
)
def test_what_is_wrong_with_a_log_that_was_read_in_a_siege(result: Result, honest: bool, found: list[str]) -> None:
    wrong = misread("pi-1", result, honest=honest)
    assert [one for one, what in zip(wrong, found, strict=True) if what not in one] == []
    assert bool(broken(Findings(misread=wrong, rounds=1), Bounds())) is bool(found)
