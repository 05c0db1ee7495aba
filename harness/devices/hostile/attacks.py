"""What a stolen device tries, one small function each: bounded in bytes and in seconds, and any may end its session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from fleet.contract.buckets import AGENT_LEASE, DESIRED_STATE, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE
from harness.devices.hostile import lies
from harness.devices.hostile.line import Line, LineEnded, loopback, message
from harness.devices.hostile.thief import Thief, every_subject, subject

Act = Callable[[Thief], Awaitable[None]]

_SECONDS = 3.0
"""How long an act that sends as much as it can goes on."""
_BAD = b"\xff\xfe"


@dataclass(frozen=True)
class Attack:
    """A named act. `purpose` says in a sentence what it would break."""

    name: str
    purpose: str
    act: Act


ATTACKS: dict[str, Attack] = {}
"""Every attack, by name."""


def _attack(act: Act) -> Act:
    name = act.__name__.replace("_", "-")
    ATTACKS[name] = Attack(name, (act.__doc__ or "").strip(), act)
    return act


@_attack
async def bad_key(thief: Thief) -> None:
    """End every reader of the bucket with a key that is no UTF-8."""
    for bucket in (DEVICE_STATE, DEVICE_INFO, DEVICE_HEARTBEAT, AGENT_LEASE):
        for key in (thief.me + b"." + _BAD, thief.me + _BAD, thief.me + b".\x00\x01", thief.me + b".\xf0\x9f\xa6\x8a"):
            await thief.put(subject(bucket, key), b"{}")


@_attack
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


@_attack
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


@_attack
async def amplified_reply(thief: Thief) -> None:
    """Drown another device in answers to direct gets of one's own large value."""
    await thief.put(subject(AGENT_LEASE, thief.me), b" " * 1_000_000)
    get = b"$JS.API.DIRECT.GET.%s.%s" % (AGENT_LEASE.stream.encode(), subject(AGENT_LEASE, thief.me))
    await thief.repeat(message(get, reply=subject(DESIRED_STATE, thief.victim())), 300, seconds=_SECONDS)


@_attack
async def heartbeat_flood(thief: Thief) -> None:
    """Keep the operator so busy that it cannot revoke."""
    beat = message(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance, honest=True))
    await thief.repeat(beat, 60_000, seconds=_SECONDS)


@_attack
async def key_flood(thief: Thief) -> None:
    """Fill the bucket with keys of one's own, and make every read of it long."""
    for first in range(0, 10_000, 500):
        keys = [thief.me + b".k%d" % (first + number) for number in range(500)]
        await thief.say(b"".join(message(subject(DEVICE_STATE, key), lies.state(thief.chance)) for key in keys))


@_attack
async def large_values(thief: Thief) -> None:
    """Fill etcd with a status that changes, large each time."""
    for number in range(10):
        letter = b"<" if number % 2 else b"x"
        for size in (900_000, 200_000, 60_000, 4_000):
            await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, arch=(letter * size).decode()))


@_attack
async def refused_status(thief: Thief) -> None:
    """Have Kubernetes refuse one's own status, and with it everybody's."""
    for field, value in lies.REFUSED:
        await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, **{field: value}))
    await thief.put(subject(DEVICE_STATE, thief.me + b".web"), lies.state(thief.chance, message="<" * 300_000))


@_attack
async def many_digits(thief: Thief) -> None:
    """End the operator with a number that Python refuses to convert."""
    for digits in (b"9" * 4300, b"9" * 5000, b"1e999", b"-0", b"1" * 19, b"9223372036854775808", b"NaN"):
        upgrade = b'{"generation":%s,"phase":"Requested","version":"v0.1.1"}' % digits
        await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance)[:-1] + b',"upgrade":' + upgrade + b"}")
        await thief.put(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance).replace(b"7777", digits))


@_attack
async def deep_nesting(thief: Thief) -> None:
    """End a reader with values that no decoder follows to their end."""
    for body in (b"[" * 100_000, b'{"a":' * 50_000, b'{"type":"info"' * 9, b"\xef\xbb\xbf{}", b"\x00" * 1000):
        for bucket in (DEVICE_INFO, DEVICE_HEARTBEAT, AGENT_LEASE):
            await thief.put(subject(bucket, thief.me), body)


@_attack
async def upgrade_lock(thief: Thief) -> None:
    """Say for ever that an upgrade is under way, and keep the fleet's lock."""
    for phase in lies.PHASES:
        await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, upgrade=lies.upgrade(phase)))
        await thief.put(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance, honest=True))


@_attack
async def escapes(thief: Thief) -> None:
    """Forge lines on an admin's terminal."""
    forged = "\x1b]0;x\x07\x1b[2J\nOnline: True (FAKE)\u202e\u2028\x9b31m"
    fields = dict.fromkeys(("arch", "os", "kernel", "engine", "bootId"), forged)
    await thief.put(subject(DEVICE_INFO, thief.me), lies.info(thief.chance, **fields))
    await thief.put(subject(DEVICE_STATE, thief.me + b".web"), lies.state(thief.chance, message=forged))


@_attack
async def long_interval(thief: Thief) -> None:
    """Look alive for hours after the end."""
    for interval in (3600, 1e308, 1e-9, -1, 86400):
        await thief.put(subject(DEVICE_HEARTBEAT, thief.me), lies.heartbeat(thief.chance, interval=interval))


@_attack
async def subscriptions(thief: Thief) -> None:
    """Fill the server's memory with subscriptions."""
    async with thief.apart() as line:
        for first in range(0, 100_000, 1000):
            inboxes = (b"SUB _INBOX_%s.%d %d\r\n" % (thief.me, it, it) for it in range(first + 1, first + 1001))
            await line.say(b"".join(inboxes))
        await line.settle()


@_attack
async def violations(thief: Thief) -> None:
    """Fill the server's log with refusals."""
    async with thief.apart() as line:
        for number in range(20):
            await line.say(message(b"$KV.identities.%d" % number, b"x") * 500)
            await line.say(b"SUB $KV.> 9\r\nSUB > 8\r\n" * 100)


@_attack
async def connection_storm(thief: Thief) -> None:
    """Keep the callout busy with log-ins, some of them good."""

    async def once(token: str) -> None:
        with suppress(LineEnded):
            line = await Line.open(thief.config.nats_url, thief.config.auth.ca)
            try:
                await line.log_in(token)
            finally:
                line.close()

    bad = ("", "x", "x.y.z", thief.token[:-4] + "AAAA", thief.token + "=" * 8000, "\u0000" * 100, "a" * 12_000)
    for _ in range(4):
        await asyncio.gather(*(once(thief.chance.choice((thief.token, *bad))) for _ in range(25)))


@_attack
async def many_sessions(thief: Thief) -> None:
    """Hold many sessions at once, so that some outlive a revocation."""
    await asyncio.gather(*(thief.another() for _ in range(30)), return_exceptions=True)


@_attack
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


@_attack
async def giant_connect(thief: Thief) -> None:
    """Make the server, or the callout, hold a huge CONNECT line."""
    for size in (15_000, 17_000, 1_000_000, 8_000_000):
        with suppress(LineEnded):
            line = await Line.open(thief.config.nats_url, thief.config.auth.ca)
            try:
                await line.say(b'CONNECT {"auth_token":"' + b"x" * size)
                await line.say(b'"}\r\nPING\r\n')
                await line.settle(1)
            finally:
                line.close()


@_attack
async def names_of_others(thief: Thief) -> None:
    """Log in under another's name, to be taken for it, or to have it kicked."""
    for options in ({"name": thief.victim().decode()}, {"user": "fleet-app", "pass": "x"}, {"jwt": "x", "sig": "y"}):
        with suppress(LineEnded):
            async with thief.apart(**options):
                pass


@_attack
async def broken_protocol(thief: Thief) -> None:
    """Confuse the server's parser, and get an error for each."""
    for said in (
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
        with suppress(LineEnded):
            async with thief.apart() as line:
                await line.say(said)
                await line.settle(0.5)


@_attack
async def writes_for_others(thief: Thief) -> None:
    """Write and read every key of somebody else, and every call that would reach further."""
    body = lies.state(thief.chance)
    async with thief.apart() as line:
        for target in (*every_subject(thief.victim()), b"$KV.identities." + thief.victim(), b"$JS.API.STREAM.LIST"):
            await line.say(message(target, body, reply=b"_INBOX_%s.r" % thief.me))
            await line.say(b"SUB %s 5\r\n" % target)
        await line.settle()


@_attack
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
