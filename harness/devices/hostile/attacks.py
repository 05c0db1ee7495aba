"""What a stolen device says to confuse or mislead others, one small function each; any may end its session."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress

from fleet.contract.buckets import AGENT_LEASE, APP_USER, DESIRED_STATE, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE
from harness.devices.hostile import lies
from harness.devices.hostile.attack import listing
from harness.devices.hostile.raw_connection import ConnectionEnded, RawConnection, message
from harness.devices.hostile.thief import Thief, every_subject, subject

WORDS, attack = listing()

_BAD = b"\xff\xfe"
_PAUSE = 0.02
"""Seconds after which the operator reads a key anew."""


@attack
async def bad_key(thief: Thief) -> None:
    """End every reader of the bucket with a key that is no UTF-8."""
    for bucket in (DEVICE_STATE, DEVICE_INFO, DEVICE_HEARTBEAT, AGENT_LEASE):
        for key in (thief.me + b"." + _BAD, thief.me + _BAD, thief.me + b".\x00\x01", thief.me + b".\xf0\x9f\xa6\x8a"):
            await thief.put(subject(bucket, key), b"{}")


@attack
async def bad_headers(thief: Thief) -> None:
    """End every reader with headers that do not parse."""
    for headers in (
        b"NATS/1.0\r\n" + _BAD + b": " + _BAD + b"\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0 9999999999 " + _BAD + b"\r\n\r\n",
        b"NATS/1.0\r\nKV-Operation: " + _BAD + b"\r\n\r\n",
        b"NATS/1.0\r\nKV-Operation: PURGE\r\nKV-Operation: DEL\r\n\r\n",
        b"NATS/1.0\r\n" + b"".join(b"A%d: %s\r\n" % (number, b"x" * 99) for number in range(300)) + b"\r\n",
        b"\r\n\r\n",
    ):
        await thief.put(subject(DEVICE_HEARTBEAT, thief.me), b"{}", headers=headers)


@attack
async def foreign_reply(thief: Thief) -> None:
    """Have the server's acknowledgements and answers arrive where another device listens."""
    body = lies.info(thief.chance)
    for target in (
        subject(DESIRED_STATE, thief.victim() + b"." + _BAD),
        subject(DESIRED_STATE, thief.victim()),
        b"_INBOX_" + thief.victim() + b".x",
        *thief.chance.sample(every_subject(thief.victim()), 6),
    ):
        await thief.put(subject(DEVICE_INFO, thief.me), body, reply=target)
        get = b"$JS.API.DIRECT.GET.%s.%s" % (AGENT_LEASE.stream.encode(), subject(AGENT_LEASE, thief.me))
        await thief.put(get, b"", reply=target)


@attack
async def refused_status(thief: Thief) -> None:
    """Have Kubernetes refuse one's own status, and with it everybody's."""
    for field, value in lies.REFUSED:
        await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, **{field: value}))
    await thief.put(subject(DEVICE_STATE, thief.me + b".web"), lies.state(thief.chance, message="<" * 15_000))


@attack
async def keys_and_volumes(thief: Thief) -> None:
    """End the operator, or mislead it, with keys, lists and volumes that are none."""
    for field, value in lies.KEYS_AND_VOLUMES:
        await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, **{field: value}))


@attack
async def many_digits(thief: Thief) -> None:
    """End the operator with a number that Python refuses to convert."""
    for digits in (b"9" * 4300, b"9" * 5000, b"1e999", b"-0", b"1" * 19, b"9223372036854775808", b"NaN"):
        upgrade = b'{"generation":%s,"phase":"Requested","version":"v0.1.1"}' % digits
        await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance)[:-1] + b',"upgrade":' + upgrade + b"}")
        await thief.put(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance).replace(b"7777", digits))


@attack
async def deep_nesting(thief: Thief) -> None:
    """End a reader with values that no decoder follows to their end."""
    for body in (
        b"[" * 4000,
        b'{"a":' * 800,
        b'{"type":"info","x":' + b"[" * 4000,
        b'{"type":"info"' * 9,
        b"\xef\xbb\xbf{}",
        b"\x00" * 1000,
    ):
        for bucket in (DEVICE_INFO, DEVICE_HEARTBEAT, AGENT_LEASE):
            await thief.put(subject(bucket, thief.me), body)


@attack
async def upgrade_lock(thief: Thief) -> None:
    """Say for ever that an upgrade is under way, and keep the fleet's lock."""
    for phase in (*lies.PHASES, *thief.chance.sample(lies.PHASES, len(lies.PHASES))):
        await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, upgrade=lies.upgrade(phase)))
        await thief.put(subject(DEVICE_INFO, thief.me), lies.out_of_order(thief.chance))
        await thief.put(subject(AGENT_LEASE, thief.me), lies.lease(thief.chance))
        await thief.put(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance, honest=True))


@attack
async def escapes(thief: Thief) -> None:
    """Forge lines on an admin's terminal."""
    forged = "\x1b]0;x\x07\x1b[2J\nOnline: True (FAKE)\u202e\u2028\x9b31m"
    fields = dict.fromkeys(("arch", "os", "kernel", "engine", "bootId"), forged)
    await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, **fields))
    await thief.put(subject(DEVICE_STATE, thief.me + b".web"), lies.state(thief.chance, message=forged))


@attack
async def long_interval(thief: Thief) -> None:
    """Look alive for hours after the end."""
    for interval in (3600, 1e308, 1e-9, -1, 86400):
        await thief.put(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance, interval=interval))


@attack
async def names_of_others(thief: Thief) -> None:
    """Log in under another's name, to be taken for it, or to have it kicked."""
    for options in ({"name": thief.victim().decode()}, {"user": APP_USER, "pass": "x"}, {"jwt": "x", "sig": "y"}):
        with suppress(ConnectionEnded):
            async with thief.apart(**options):
                pass


@attack
async def broken_protocol(thief: Thief) -> None:
    """Confuse the server's parser, and get an error for each."""
    for data in (
        b"PUB\r\n",
        b"PUB x -1\r\n\r\n",
        b"PUB x 99999999999999999999\r\n",
        b"HPUB x 10 5\r\nNATS/1.0\r\n\r\n",
        b"HMSG x 1 1 1\r\n",
        b"A+ APP\r\n",
        b"RS+ APP x\r\n",
        b"\x00" * 5000,
        b"SUB x\r\nSUB\r\nUNSUB\r\n",
        b"INFO {}\r\n",
        b"+OK\r\n" * 1000,
        b"-ERR 'Permissions Violation'\r\n",
    ):
        with suppress(ConnectionEnded):
            async with thief.apart() as line:
                await line.say(data)
                await line.settle(0.5)


@attack
async def writes_for_others(thief: Thief) -> None:
    """Write and read every key of another device, and try every call that would give more access."""
    body = lies.state(thief.chance)
    async with thief.apart() as line:
        for target in (*every_subject(thief.victim()), b"$KV.identities." + thief.victim(), b"$JS.API.STREAM.LIST"):
            await line.say(message(target, body, reply=b"_INBOX_%s.r" % thief.me))
            await line.say(b"SUB %s 5\r\n" % target)
        await line.settle()


@attack
async def purges_all(thief: Thief) -> None:
    """Take away what others keep, by the headers of a write of one's own."""
    for name, value in (
        *(("Nats-Rollup", "all"), ("KV-Operation", "PURGE"), ("Nats-Expected-Last-Sequence", "0")),
        *(("Nats-TTL", "1"), ("Nats-Schedule", "@every 1s"), ("Nats-Schedule-Target", "$KV.desired-state.pi-1")),
        *(("Nats-Msg-Id", "1"), ("Nats-Batch-Id", "b"), ("Nats-Incr", "1"), ("Nats-Marker-Reason", "MaxAge")),
    ):
        headers = f"NATS/1.0\r\n{name}: {value}\r\n\r\n".encode()
        for bucket in (DEVICE_HEARTBEAT, DEVICE_INFO, AGENT_LEASE):
            await thief.put(subject(bucket, thief.me), json.dumps({}).encode(), headers=headers)


@attack
async def odd_tokens(thief: Thief) -> None:
    """Have the callout fail, and log a traceback, over tokens whose header is no object or has no end."""
    payload, signature = thief.token.split(".")[1:] if thief.token else ("e30", "e30")
    for header in (
        *(b'"alg kid"', b'["alg","kid"]', b"null", b"5", b"[" * 8000, b'{"alg":"RS256","kid":' + b"9" * 5000 + b"}"),
        *(
            b'{"alg":["RS256"],"kid":"1"}',
            b'{"alg":"RS256","kid":"x"}',
            b'{"alg":"none"}',
            b'{"alg":"RS256","crit":[1]}',
        ),
    ):
        encoded = base64.urlsafe_b64encode(header).decode().rstrip("=")
        with suppress(ConnectionEnded):
            line = await RawConnection.open(thief.config.nats_url, thief.config.auth.ca)
            try:
                await line.log_in(f"{encoded}.{payload}.{signature}")
            finally:
                line.close()


@attack
async def new_rubbish(thief: Thief) -> None:
    """Fill the operator's log with values that are wrong in another way each time."""
    for number in range(200):
        version = f"{number} " + "y" * 5000
        await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, agentVersion=version))
        await asyncio.sleep(_PAUSE)
