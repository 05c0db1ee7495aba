"""No byte of a sender ends, stalls or misleads a reader: subjects, headers, replies and values, on a real server."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.contract.buckets import APP_USER, Bucket
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.nats.bus import BadEntry, Bus, Deleted, Entry, connect
from fleet.nats.headers import parse_headers
from tests.support.nats import PASSWORDS, Nats

RUNNING = DeviceState(generation=1, phase=Phase.RUNNING, reason=Reason.STARTED)
BLOCKS = {
    "status 503": b"NATS/1.0 503\r\n\r\n",
    "status 404": b"NATS/1.0 404 No Messages\r\n\r\n",
    "status 408": b"NATS/1.0 408 Request Timeout\r\n\r\n",
    "idle heartbeat": b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 9\r\n\r\n",
    "stalled": b"NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $KV.%b.pi-2\r\n\r\n",
    "flow control": b"NATS/1.0 100 FlowControl Request\r\n\r\n",
    "status header": b"NATS/1.0\r\nStatus: 503\r\nDescription: no\r\n\r\n",
    "bad bytes": b"NATS/1.0\r\n\xff\xfe: \xff\r\nKV-Operation: \xff\r\n\r\n",
    "bad status": b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    "no line": b"NATS/1.0\r\n\r\n",
    "no version": b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\r\n\r\n",
    "no colon": b"NATS/1.0\r\nnothing\r\n: empty\r\n\r\n",
    "forged place": b"NATS/1.0\r\nNats-Sequence: 99999\r\nNats-Time-Stamp: never\r\nNats-Subject: x\r\n\r\n",
    "forged stream": b"NATS/1.0 404\r\nNats-Stream: x\r\nNats-Sequence: x\r\n\r\n",
}


async def send(nats: Nats, *lines: bytes) -> None:
    """Speak NATS as it is on the wire, with bytes that no client library would send; returns once they arrived."""
    trust = ssl.create_default_context(cadata=nats.tls.ca)
    reader, writer = await asyncio.open_connection("127.0.0.1", nats.port)
    await reader.readline()
    await writer.start_tls(trust, server_hostname="127.0.0.1")
    options = {"user": APP_USER, "pass": PASSWORDS.app, "headers": True, "tls_required": True, "verbose": False}
    writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n" + b"".join(lines) + b"PING\r\n")
    while b"PONG" not in (line := await asyncio.wait_for(reader.readline(), 5)):
        assert line, "the server closed the connection"
    # All has arrived; a farewell over TLS would outlive the loop.
    writer.transport.abort()
    await writer.wait_closed()


def put(subject: bytes, value: bytes) -> bytes:
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(value), value)


def put_with_headers(subject: bytes, headers: bytes, value: bytes = b"") -> bytes:
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(headers), len(headers) + len(value), headers, value)


def on_bucket(nats: Nats, name: str, body: Callable[[Bus, Bucket[DeviceState], list[str]], Awaitable[None]]) -> None:
    async def run() -> None:
        said: list[str] = []
        bus = await connect(nats.login(APP_USER), notice=said.append, attempts=1)
        bucket = Bucket(name, DeviceState)
        try:
            await bus.ensure(bucket)
            await body(bus, bucket, said)
        finally:
            await bus.close()

    asyncio.run(run())


def test_a_subject_that_is_no_text_is_a_bad_key(nats: Nats) -> None:
    """The message is stored, so also the next reader has it; the keys beside it are read."""

    async def body(bus: Bus, bucket: Bucket[DeviceState], said: list[str]) -> None:
        heard: list[str] = []

        async def changed(change: Entry[DeviceState] | BadEntry | Deleted) -> None:
            heard.append(change.key)

        kv = bus.kv(bucket)
        await kv.follow(">", changed)
        await send(nats, put(b"$KV.%b.pi-1.\xff\xfe" % bucket.name.encode(), b"{}"))
        await kv.put("pi-1.web", RUNNING)
        found = {entry.key: entry for entry in await kv.read_all()}
        assert isinstance(found["pi-1.web"], Entry)
        assert isinstance(found["pi-1.\\xff\\xfe"], BadEntry)
        assert heard == ["pi-1.\\xff\\xfe", "pi-1.web"]
        assert not said

    on_bucket(nats, "bad-subject", body)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("value", [b"", b"{}"], ids=["empty", "value"])
def test_no_header_of_a_sender_is_taken_for_the_servers(nats: Nats, block: bytes, value: bytes) -> None:
    name = f"h{abs(hash((block, value)))}"
    block = block.replace(b"%b", name.encode())

    async def body(bus: Bus, bucket: Bucket[DeviceState], said: list[str]) -> None:
        kv = bus.kv(bucket)
        await kv.put("pi-2", RUNNING)
        await send(nats, put_with_headers(b"$KV.%b.pi-1" % name.encode(), block, value))
        await kv.put("pi-3", RUNNING)
        found = {entry.key: entry for entry in await asyncio.wait_for(kv.read_all(), 3)}
        assert isinstance(found["pi-2"], Entry), "nothing was published to another's key"
        assert isinstance(found["pi-3"], Entry)
        assert isinstance(found["pi-1"], BadEntry)
        assert isinstance(await kv.get("pi-1"), BadEntry)
        assert isinstance(await kv.get("pi-3"), Entry)
        assert not said

    on_bucket(nats, name, body)


def test_what_is_sent_to_an_answer_that_nobody_waits_for_is_skipped(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState], said: list[str]) -> None:
        await bus.kv(bucket).get("pi-1")
        prefix = bytes(bus.client._resp_sub_prefix or b"")  # pyright: ignore[reportPrivateUsage]
        await send(nats, *(put(prefix + token, b"x") for token in (b"\xff", b"x", b"x.y", b"\xc3")))
        assert await bus.kv(bucket).get("pi-1") is None
        assert not said

    on_bucket(nats, "answers", body)


def test_a_writer_that_never_pauses_holds_no_reader_up(nats: Nats) -> None:
    """The reader reads to the last sequence of its beginning."""

    async def body(bus: Bus, bucket: Bucket[DeviceState], _: list[str]) -> None:
        kv = bus.kv(bucket)
        for number in range(200):
            await kv.put(f"pi-{number}", RUNNING)
        flooding = True

        async def flood() -> None:
            flooder = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
            while flooding:
                for number in range(200):
                    await flooder.client.publish(bucket.subject(f"pi-{number % 7}"), b"{}")
                await flooder.client.flush()
            await flooder.close()

        task = asyncio.create_task(flood())
        try:
            found = await asyncio.wait_for(kv.read_all(), 5)
        finally:
            flooding = False
            await task
        assert {entry.key for entry in found} >= {f"pi-{number}" for number in range(7, 200)}

    on_bucket(nats, "flood", body)


@given(block=st.binary(max_size=200), reply=st.sampled_from([b"", b"_INBOX.1", b"$JS.ACK.x.y"]))
def test_any_header_block_is_parsed(block: bytes, reply: bytes) -> None:
    for name, value in parse_headers(b"NATS/1.0" + block, reply).items():
        f"{name}{value}".encode()
    parse_headers(block, reply)


def test_the_last_header_counts() -> None:
    """The server's own stand behind those of the sender."""
    block = b"NATS/1.0 404\r\nNats-Sequence: 9\r\nNats-Stream: KV_x\r\nNats-Sequence: 1\r\n\r\n"
    assert parse_headers(block, b"") == {"Nats-Sequence": "1", "Nats-Stream": "KV_x"}


def test_of_a_block_without_end_the_last_lines_are_read() -> None:
    """They are the server's; a sender's thousands of lines would keep the reader of all devices busy."""
    lines = b"".join(b"A%d: b\r\n" % number for number in range(7_000))
    found = parse_headers(b"NATS/1.0 503\r\n" + lines + b"Nats-Sequence: 1\r\nNats-Stream: KV_x\r\n\r\n", b"")
    assert len(found) < 1_000
    assert found["Nats-Sequence"] == "1"
    assert found["Nats-Stream"] == "KV_x"
    assert "A6999" in found
    assert not [name for name in found if name not in {"Nats-Sequence", "Nats-Stream"} and found[name] != "b"]
