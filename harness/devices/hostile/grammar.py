"""Attacks that no list holds: any bytes to any subject, with any header and reply-to, at any size and rate."""

from __future__ import annotations

import random

from fleet.contract.buckets import AGENT_LEASE, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE
from harness.devices.hostile import lies
from harness.devices.hostile.raw_connection import message
from harness.devices.hostile.thief import Thief, every_subject, subject

_WRITTEN = (DEVICE_STATE, DEVICE_INFO, DEVICE_HEARTBEAT, AGENT_LEASE)
_SAID = (lies.info, lies.out_of_order, lies.state, lies.states, lies.heartbeat, lies.lease)
_HEADERS = ("Nats-Rollup", "KV-Operation", "Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence", "Nats-TTL", "Status")


async def mix(thief: Thief) -> None:
    """A burst of sentences, the same one several times now and then; as `Thief.line` for errors."""
    for _ in range(thief.chance.randint(1, 60)):
        await thief.repeat(sentence(thief), thief.chance.choice((1, 1, 1, 5, 50, 500)), seconds=1)


def sentence(thief: Thief) -> bytes:
    """One message: mostly to a subject of his own, for there it is taken."""
    chance = thief.chance
    to = _own(chance, thief.me) if chance.random() < 0.85 else chance.choice(every_subject(thief.victim()))
    reply = chance.choice(every_subject(thief.victim())) if chance.random() < 0.3 else b""
    return message(to, _body(chance), reply=reply, headers=_headers(chance) if chance.random() < 0.3 else b"")


def _own(chance: random.Random, me: bytes) -> bytes:
    bucket = chance.choice(_WRITTEN)
    tail = chance.choice((b"", b"", b"", b".web", b"." + _word(chance), b".a.b"))
    at = subject(bucket, me + tail)
    return b"$JS.API.DIRECT.GET.%s.%s" % (bucket.stream.encode(), at) if chance.random() < 0.2 else at


def _word(chance: random.Random) -> bytes:
    """Up to 40 bytes that may stand in a subject: no space, no line end."""
    return bytes(chance.choice([*range(1, 9), *range(33, 256)]) for _ in range(chance.randint(1, 40)))


def _body(chance: random.Random) -> bytes:
    honest = chance.choice(_SAID)(chance)
    match chance.randrange(8):
        case 0:
            return chance.randbytes(chance.choice((0, 1, 10, 1000, 4000, 16_000, 64_000)))
        case 1:
            return honest[: chance.randrange(len(honest))]
        case 2:
            return honest + b" " * chance.choice((1, 3_500, 4_000, 15_000, 16_300, 48_000))
        case _:
            return lies.mutated(chance, honest)


def _headers(chance: random.Random) -> bytes:
    value = chance.choice((b"all", b"DEL", b"PURGE", b"0", b"1s", b"", _word(chance)))
    return b"NATS/1.0\r\n%s: %s\r\n\r\n" % (chance.choice(_HEADERS).encode(), value)
