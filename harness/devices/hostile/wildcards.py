"""What a stolen device is shut out for until an admin lets it in again: reply-tos with a wildcard (decision 100)."""

from __future__ import annotations

import asyncio

from fleet.contract.buckets import ARTIFACTS_STREAM, TRUST_BUNDLE, TRUST_KEY, manifest_subject
from fleet.contract.logs import log_subject
from harness.devices.hostile.attack import listing
from harness.devices.hostile.raw_connection import message
from harness.devices.hostile.thief import Thief

WILDCARDS, attack = listing()

_RATE = 90
"""Messages a second: below a flood."""
_MESSAGES = 5 * _RATE
_LETTERS = b"x" * 16_000
"""Nearly as many as the server takes: the longer it is, the longer a comparison takes."""


@attack
async def wildcard_replies(thief: Thief) -> None:
    """Have the server compare every request with those that it cannot forget, and forget those of others."""
    for number in range(_MESSAGES):
        long = b"_INBOX_%s.%d.%s.*" % (thief.me, number, _LETTERS)
        reply = thief.chance.choice((long, long, b"_INBOX_%s.>" % thief.victim(), b">"))
        await thief.put(log_subject(thief.config.device_id).encode(), b"x", reply=reply)
        await asyncio.sleep(1 / _RATE)


@attack
async def hidden_wildcards(thief: Thief) -> None:
    """The same with messages that the server is to trace, and to hand to nobody."""
    own = log_subject(thief.config.device_id)
    read = f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.{manifest_subject('v1')}"
    for number in range(_MESSAGES):
        told_at, encoding = thief.chance.choice((own, read)), thief.chance.choice(("", "gzip", "snappy"))
        headers = f"NATS/1.0\r\nNats-Trace-Dest: {told_at}\r\nNats-Trace-Only: true\r\nAccept-Encoding: {encoding}"
        reply = b"_INBOX_%s.%d.%s.*" % (thief.me, number, _LETTERS)
        await thief.put(own.encode(), b"x", reply=reply, headers=headers.encode() + b"\r\n\r\n")
        await asyncio.sleep(1 / _RATE)


@attack
async def wildcard_reads(thief: Thief) -> None:
    """The same with reads in which no device is named, in another's name and as fast as it goes."""
    trust = f"$JS.API.DIRECT.GET.{TRUST_BUNDLE.stream}.{TRUST_BUNDLE.subject(TRUST_KEY)}"
    for first in range(0, 20_000, 100):
        numbers = range(first, first + 100)
        agents = [f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.{manifest_subject(f'v{number}')}" for number in numbers]
        reads = zip(numbers, (trust, *agents[1:]), strict=True)
        replies = (message(at.encode(), reply=b"_INBOX_%s.%d.*" % (thief.victim(), it)) for it, at in reads)
        await thief.say(b"".join(replies))
