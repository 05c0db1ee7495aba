"""The hostile device is repeatable, and attacks this machine only; the judgement on what was seen can fail."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from fleet.contract.config import AgentConfig, FleetDeviceAuth, MachineKey
from fleet.contract.names import DeviceId
from harness.devices.hostile.attacks import ATTACKS
from harness.devices.hostile.grammar import sentence
from harness.devices.hostile.line import Line, message
from harness.devices.hostile.thief import Thief
from harness.errors import Misused
from harness.siege.findings import Bounds, Findings, broken


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


def test_a_message_counts_its_bytes() -> None:
    assert message(b"a", b"xy", reply=b"r") == b"PUB a r 2\r\nxy\r\n"
    assert message(b"a", b"xy", headers=b"NATS/1.0\r\n\r\n") == b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nxy\r\n"


def test_another_machine_is_not_attacked() -> None:
    with pytest.raises(Misused, match=r"192\.0\.2\.1 is not this machine"):
        asyncio.run(Line.open("tls://192.0.2.1:4222", ""))


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
