"""Values of the wire that are not so: each parses unless a field was meant to break it."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

from fleet.contract.upgrade import UpgradePhase, UpgradeReason

PHASES = tuple(phase.value for phase in UpgradePhase)
REASONS = tuple(reason.value for reason in UpgradeReason)
GENERATIONS = (0, 1, 2, 7, 2**31, 2**53 - 1)
REFUSED: tuple[tuple[str, Any], ...] = (
    ("memory", 2**63 - 1),
    ("memory", -(2**63)),
    ("disk", 2**64 - 1),
    ("agentVersion", "v1.0.0-" + "a" * 200),
    ("arch", "<" * 15_000),
    ("os", "\u0000"),
    ("kernel", "\ud800\udfff\ufeff"),
    ("bootId", "x" * 15_500),
)
"""Fields of a device's info that Kubernetes, or etcd, may refuse."""
_OPENS = "\x1b]0;x\x07\nReady: True"
_SIZES = {"free": 2**53 - 1, "floor": 0, "images": 0, "containers": 0, "volumes": 2**53 - 1}
KEYS_AND_VOLUMES: tuple[tuple[str, Any], ...] = (
    *(("sealingKey", base64.b64encode(key).decode()) for key in (bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"")),
    *(("offeredKey", key) for key in ("-----BEGIN PUBLIC KEY-----\n" + "A" * 990, "\u0000" * 1024, "x" * 1025, _OPENS)),
    *(("trusts", ids) for ids in (["x" * 128] * 32, [_OPENS], ["y"] * 33, ["../.."])),
    *(("keyId", word) for word in ("../../etc", "x" * 128, _OPENS, "$KV.identities.1")),
    *(("tokensAfter", number) for number in (2**53 - 1, 0, -1, 1e300)),
    *(("releaseKeys", {"number": number, "digest": "d", "refused": _OPENS * 40}) for number in (0, 2**53 - 1, -1)),
    ("releaseKeys", {}),
    ("diskUsage", _SIZES | {"namedVolumes": [{"name": _OPENS, "size": 2**50}] * 32}),
    ("diskUsage", _SIZES | {"namedVolumes": [{"deployment": "web", "volume": "x" * 253, "size": -1}]}),
    ("volumeOutcomes", [{"order": str(number), "reason": _OPENS, "message": "<" * 1024} for number in range(8)]),
    ("volumeOutcomes", [{"order": "x", "reason": "Removed"}] * 9),
)
"""The same of keys that it has or offers, of lists that it says it took, and of its volumes."""


def heartbeat(chance: random.Random, *, honest: bool = False, interval: float = 1) -> bytes:
    """A sign of life; with fields of any kind unless `honest`."""
    message: dict[str, Any] = {
        "type": "heartbeat",
        "agentVersion": "v0.1.0",
        "instanceId": f"i-{chance.getrandbits(32):x}",
        "bootId": "b",
        "sequence": 7777,
        "interval": interval,
        "at": chance.random() * 4e9,
    }
    if not honest:
        message |= {"generation": chance.choice((0, 1, 2**53, -1)), "extra": chance.choice(ODD)}
    return json.dumps(message).encode()


def info(chance: random.Random, **fields: object) -> bytes:
    """What a device says it is; always another value than before."""
    message: dict[str, Any] = {
        "type": "info",
        "agentVersion": "v0.1.0",
        "arch": "aarch64",
        "os": "Debian",
        "kernel": "6",
        "memory": chance.randrange(2**40),
        "disk": chance.randrange(2**40),
        "bootId": f"{chance.random()}",
    }
    return json.dumps(message | fields).encode()


def state(chance: random.Random, **fields: object) -> bytes:
    """What became of a deployment."""
    message: dict[str, Any] = {
        "type": "state",
        "generation": chance.randrange(9),
        "phase": "Running",
        "reason": "Started",
        "restarts": chance.randrange(10**6),
        "at": chance.random(),
    }
    return json.dumps(message | fields).encode()


def states(chance: random.Random) -> bytes:
    """False reports about deployments that the device has not, and about some that it has."""
    names = ("web", "app", f"x{chance.randrange(9)}", "x" * 63)
    reported = {name: json.loads(state(chance)) for name in chance.sample(names, chance.randint(0, 4))}
    for one in reported.values():
        del one["type"]
    return json.dumps({"type": "states", "states": reported}).encode()


def lease(chance: random.Random) -> bytes:
    """Which of its agents may write: one that there is not, of a boot that was not."""
    message = {"type": "lease", "instanceId": f"i-{chance.randrange(5)}", "generation": chance.choice(GENERATIONS)}
    return json.dumps(message | {"expires": chance.random() * 4e9, "bootId": chance.choice(("b", "", "c"))}).encode()


def upgrade(phase: str, generation: int = 1, reason: str = "InProgress") -> dict[str, object]:
    """Where an upgrade is said to stand."""
    return {"phase": phase, "generation": generation, "reason": reason, "candidate": "v0.1.1", "committed": "v0.1.1"}


def out_of_order(chance: random.Random) -> bytes:
    """A phase of an attempt that is not under way, or that cannot follow the one before."""
    return info(chance, upgrade=upgrade(chance.choice(PHASES), chance.choice(GENERATIONS), chance.choice(REASONS)))


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
        "<" * 3500,
        "💣" * 99,
    ),
    *([], [[]], {}, {"a": {}}, [None] * 1000, {str(number): number for number in range(1000)}),
)
"""Values that fit no field, or fit only just."""


def mutated(chance: random.Random, value: bytes) -> bytes:
    """The same value with some fields replaced, dropped, doubled or moved."""
    message: dict[str, Any] = json.loads(value)
    for name in chance.sample(sorted(message), chance.randint(1, min(3, len(message)))):
        match chance.randrange(4):
            case 0:
                del message[name]
            case 1:
                message[name] = [message[name]]
            case _:
                message[name] = chance.choice(ODD)
    return json.dumps(message).encode()
