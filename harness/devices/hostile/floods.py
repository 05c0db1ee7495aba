"""What a stolen device does in great numbers, one small function each: bounded in bytes and in seconds."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from fleet.contract.buckets import AGENT_LEASE, DESIRED_STATE, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE
from fleet.contract.permissions import DEVICE_WRITES, MAX_PAYLOAD
from harness.devices.hostile import lies
from harness.devices.hostile.attack import listing
from harness.devices.hostile.raw_connection import ConnectionEnded, RawConnection, loopback, message
from harness.devices.hostile.thief import Thief, subject

FLOODS, attack = listing()

_SECONDS = 3.0
"""How long an act that sends as much as it can goes on."""


@attack
async def amplified_reply(thief: Thief) -> None:
    """Drown another device in answers to direct gets of one's own large value."""
    await thief.put(subject(AGENT_LEASE, thief.me), b" " * (AGENT_LEASE.largest - 200))
    get = b"$JS.API.DIRECT.GET.%s.%s" % (AGENT_LEASE.stream.encode(), subject(AGENT_LEASE, thief.me))
    await thief.repeat(message(get, reply=subject(DESIRED_STATE, thief.victim())), 300, seconds=_SECONDS)


@attack
async def heartbeat_flood(thief: Thief) -> None:
    """Keep the operator so busy that it cannot revoke."""
    beat = message(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance, honest=True))
    await thief.repeat(beat, 60_000, seconds=_SECONDS)


@attack
async def key_flood(thief: Thief) -> None:
    """Fill the bucket with keys of one's own, and make every read of it long."""
    for first in range(0, 10_000, 500):
        keys = [thief.me + b".k%d" % (first + number) for number in range(500)]
        await thief.say(b"".join(message(subject(DEVICE_STATE, key), lies.state(thief.chance)) for key in keys))


@attack
async def large_values(thief: Thief) -> None:
    """Fill etcd with a status that changes, large each time."""
    for number in range(10):
        letter = b"<" if number % 2 else b"x"
        for size in (DEVICE_INFO.largest - 300, DEVICE_INFO.largest, 60_000, 4_000):
            await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, arch=(letter * size).decode()))


@attack
async def subscriptions(thief: Thief) -> None:
    """Fill the server's memory with subscriptions."""
    async with thief.apart() as line:
        for first in range(0, 100_000, 1000):
            inboxes = (
                b"SUB _INBOX_%s.%d %d\r\n" % (thief.me, serial, serial) for serial in range(first + 1, first + 1001)
            )
            await line.say(b"".join(inboxes))
        await line.settle()


@attack
async def deep_subscriptions(thief: Thief) -> None:
    """Fill the server's memory with a few subscriptions that have thousands of tokens each."""
    lines = [await thief.another() for _ in range(8)]
    for session, line in enumerate(lines):
        subjects = (b"_INBOX_%s.%d-%d" % (thief.me, session, one) + b".x" * 8000 for one in range(32))
        with suppress(ConnectionEnded):
            await line.say(b"".join(b"SUB %s %d\r\n" % (name, number) for number, name in enumerate(subjects, 1)))
            await line.settle()


@attack
async def violations(thief: Thief) -> None:
    """Fill the server's log with refusals."""
    async with thief.apart() as line:
        await _for_seconds(line, message(b"$KV.identities.1", b"x") * 500 + b"SUB $KV.> 9\r\nSUB > 8\r\n" * 100)


@attack
async def connection_storm(thief: Thief) -> None:
    """Keep the callout busy with log-ins, some of them good."""

    async def once(token: str) -> None:
        with suppress(ConnectionEnded):
            line = await RawConnection.open(thief.config.nats_url, thief.config.auth.ca)
            try:
                await line.log_in(token)
            finally:
                line.close()

    bad = ("", "x", "x.y.z", thief.token[:-4] + "AAAA", thief.token + "=" * 8000, "\u0000" * 100, "a" * 12_000)
    for _ in range(4):
        await asyncio.gather(*(once(thief.chance.choice((thief.token, *bad))) for _ in range(25)))


@attack
async def many_sessions(thief: Thief) -> None:
    """Hold many sessions at once, so that some outlive a revocation."""
    await asyncio.gather(*(thief.another() for _ in range(30)), return_exceptions=True)


@attack
async def long_names(thief: Thief) -> None:
    """Make every listing of sessions large, by what a session may say of itself, and a revocation slow."""
    await thief.line()
    options = {"name": "n" * 6000, "lang": "l" * 2000, "version": "v" * 2000}
    for _ in range(4):
        await asyncio.gather(*(thief.another(**options) for _ in range(50)), return_exceptions=True)


@attack
async def half_open(thief: Thief) -> None:
    """Hold connections that never begin TLS, or never end its handshake."""
    address = loopback(thief.config.nats_url)
    opened: list[asyncio.StreamWriter] = []
    with suppress(OSError):
        for number in range(150):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            opened.append(writer)
            if number % 2:
                writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    await asyncio.sleep(1)
    for writer in opened:
        writer.transport.abort()


@attack
async def giant_connect(thief: Thief) -> None:
    """Make the server, or the callout, hold a huge CONNECT line."""
    for size in (15_000, 17_000, 1_000_000, 8_000_000):
        with suppress(ConnectionEnded):
            line = await RawConnection.open(thief.config.nats_url, thief.config.auth.ca)
            try:
                await line.say(b'CONNECT {"auth_token":"' + b"x" * size)
                await line.say(b'"}\r\nPING\r\n')
                await line.settle(1)
            finally:
                line.close()


@attack
async def long_ids(thief: Thief) -> None:
    """Fill the server's memory with the ids of messages, which it keeps to recognise duplicates."""
    for number in range(0, 30_000, 100):
        headers = (b"NATS/1.0\r\nNats-Msg-Id: %d%s\r\n\r\n" % (number + offset, b"x" * 12_000) for offset in range(100))
        await thief.say(b"".join(message(subject(DEVICE_INFO, thief.me), headers=block) for block in headers))


@attack
async def reads_nothing(thief: Thief) -> None:
    """Fill the server's memory with unread answers, on as many sessions as are allowed."""
    await thief.put(subject(AGENT_LEASE, thief.me), b" " * 4000)
    get = b"$JS.API.DIRECT.GET.%s.%s" % (AGENT_LEASE.stream.encode(), subject(AGENT_LEASE, thief.me))
    lines = [await thief.another() for _ in range(8)]
    for line in lines:
        line.hear_nothing()
        with suppress(ConnectionEnded):
            await line.say(b"SUB _INBOX_%s.* 1\r\n" % thief.me)
            for _ in range(40):
                await line.say(message(get, reply=b"_INBOX_%s.x" % thief.me) * 500)


@attack
async def pings(thief: Thief) -> None:
    """Keep the server busy with what no permission limits: signs of life, and subscriptions that come and go."""
    async with thief.apart() as line:
        await _for_seconds(line, b"PING\r\n" * 10_000)
        heard = DEVICE_HEARTBEAT.notify_subject(thief.me.decode()).encode()
        await _for_seconds(line, b"".join(b"SUB %s %d\r\nUNSUB %d\r\n" % (heard, sid, sid) for sid in range(500)))


async def _for_seconds(line: RawConnection, data: bytes) -> None:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        await line.say(data)


@attack
async def sizes(thief: Thief) -> None:
    """End a reader, or the server, with a size that is just allowed, or just not."""
    for bucket in DEVICE_WRITES:
        for size in (bucket.largest - 1, bucket.largest, bucket.largest + 1, MAX_PAYLOAD):
            await thief.put(subject(bucket, thief.me), b" " * size)
    for size in (MAX_PAYLOAD + 1, 100_000, 2**31):
        async with thief.apart() as line:
            await line.say(b"PUB %s %d\r\n" % (subject(DEVICE_INFO, thief.me), size))
            await line.say(b" " * min(size, 100_000))
