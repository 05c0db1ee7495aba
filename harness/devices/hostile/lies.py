"""Values of the wire that are not so: each parses unless a field was meant to break it."""

from __future__ import annotations

import json
import random
from typing import Any

from fleet.contract.upgrade import UpgradePhase

PHASES = tuple(phase.value for phase in UpgradePhase)
REFUSED: tuple[tuple[str, Any], ...] = (
    ("memory", 2**63 - 1),
    ("memory", -(2**63)),
    ("disk", 2**64 - 1),
    ("agentVersion", "v1.0.0-" + "a" * 200),
    ("arch", "<" * 300_000),
    ("os", "\u0000"),
    ("kernel", "\ud800\udfff\ufeff"),
    ("bootId", "x" * 70_000),
)
"""Fields of a device's info that Kubernetes, or etcd, may refuse."""


def heartbeat(chance: random.Random, *, honest: bool = False, interval: float = 1) -> bytes:
    """A sign of life; with fields of any kind unless `honest`."""
    said: dict[str, Any] = {
        "type": "heartbeat",
        "agentVersion": "v0.1.0",
        "instanceId": f"i-{chance.getrandbits(32):x}",
        "bootId": "b",
        "sequence": 7777,
        "interval": interval,
        "at": chance.random() * 4e9,
    }
    if not honest:
        said |= {"generation": chance.choice((0, 1, 2**53, -1)), "extra": chance.choice(ODD)}
    return json.dumps(said).encode()


def info(chance: random.Random, **fields: object) -> bytes:
    """What a device says it is; always another value than before."""
    said: dict[str, Any] = {
        "type": "info",
        "agentVersion": "v0.1.0",
        "arch": "aarch64",
        "os": "Debian",
        "kernel": "6",
        "memory": chance.randrange(2**40),
        "disk": chance.randrange(2**40),
        "bootId": f"{chance.random()}",
    }
    return json.dumps(said | fields).encode()


def state(chance: random.Random, **fields: object) -> bytes:
    """What became of a deployment."""
    said: dict[str, Any] = {
        "type": "state",
        "generation": chance.randrange(9),
        "phase": "Running",
        "reason": "Started",
        "restarts": chance.randrange(10**6),
        "at": chance.random(),
    }
    return json.dumps(said | fields).encode()


def upgrade(phase: str) -> dict[str, object]:
    """Where an upgrade is said to stand."""
    return {"phase": phase, "generation": 1, "version": "v0.1.1", "instanceId": "i"}


ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**53 + 1, 2**63, -(2**63), 10**300, 1.5, 1e308, -1e-308, float("inf"), float("nan")),
    *(
        "",
        " ",
        "\u0000",
        "\x1b[2J",
        "\n",
        "\u202e",
        "\ufeff",
        "\ud800",
        "x" * 255,
        "x" * 5000,
        "<" * 100_000,
        "💣" * 99,
    ),
    *([], [[]], {}, {"a": {}}, [None] * 1000, {str(number): number for number in range(1000)}),
)
"""Values that fit no field, or fit only just."""


def mutated(chance: random.Random, value: bytes) -> bytes:
    """The same value with some fields replaced, dropped, doubled or moved."""
    said: dict[str, Any] = json.loads(value)
    for name in chance.sample(sorted(said), chance.randint(1, min(3, len(said)))):
        match chance.randrange(4):
            case 0:
                del said[name]
            case 1:
                said[name] = [said[name]]
            case _:
                said[name] = chance.choice(ODD)
    return json.dumps(said).encode()
