"""Typed KV buckets on a real nats-server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from nats.js.api import StreamConfig
from nats.js.errors import APIError

from fleet.contract.buckets import APP_USER, Bucket
from fleet.contract.errors import Conflict, FleetError, Unreachable
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.nats.bus import BadEntry, Bus, Deleted, Entry, connect
from tests.support.nats import Nats
from tests.support.waiting import eventually

STATES = Bucket("states", DeviceState)
RUNNING = DeviceState(generation=1, phase=Phase.RUNNING, reason=Reason.STARTED)
FAILED = msgspec.structs.replace(RUNNING, phase=Phase.FAILED, reason=Reason.CRASH_LOOP)

Body = Callable[[Bus, Bucket[DeviceState]], Awaitable[None]]


@asynccontextmanager
async def operator(nats: Nats) -> AsyncGenerator[Bus]:
    bus = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
    try:
        yield bus
    finally:
        await bus.close()


def on_bucket(nats: Nats, body: Body, name: str) -> None:
    """Run `body` with a connection and an empty bucket of its own."""

    async def run() -> None:
        bucket = Bucket(name, DeviceState)
        async with operator(nats) as bus:
            await bus.ensure(bucket)
            await body(bus, bucket)

    asyncio.run(run())


def test_what_is_put_is_read_until_it_is_deleted(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        kv = bus.kv(bucket)
        assert await kv.get("pi-1.web") is None
        first = await kv.put("pi-1.web", RUNNING)
        entry = await kv.get("pi-1.web")
        assert isinstance(entry, Entry)
        assert (entry.value, entry.revision) == (RUNNING, first)
        assert abs(entry.stored - time.time()) < 60
        assert await kv.put("pi-1.web", FAILED) > first
        await kv.delete("pi-1.web")
        assert await kv.get("pi-1.web") is None
        assert await kv.read_all() == []
        await kv.delete("pi-1.never-there")

    on_bucket(nats, body, "put")


def test_compare_and_set_lets_one_writer_win(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        kv = bus.kv(bucket)
        revision = await kv.create("pi-1.web", RUNNING)
        with pytest.raises(Conflict):
            await kv.create("pi-1.web", FAILED)
        newer = await kv.update("pi-1.web", FAILED, revision=revision)
        with pytest.raises(Conflict):
            await kv.update("pi-1.web", RUNNING, revision=revision)
        entry = await kv.get("pi-1.web")
        assert isinstance(entry, Entry)
        assert (entry.value, entry.revision) == (FAILED, newer)

    on_bucket(nats, body, "cas")


def test_a_deleted_key_can_be_created_again(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        kv = bus.kv(bucket)
        await kv.create("pi-1.web", RUNNING)
        await kv.delete("pi-1.web")
        await kv.create("pi-1.web", FAILED)
        entry = await kv.get("pi-1.web")
        assert isinstance(entry, Entry)
        assert entry.value == FAILED

    on_bucket(nats, body, "again")


def test_read_all_returns_every_live_key_once(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        kv = bus.kv(bucket)
        js = bus.client.jetstream()
        data = msgspec.json.encode(RUNNING)
        for number in range(1500):
            await js.publish_async(bucket.subject(f"pi-{number}.web"), data)
        await js.publish_async(bucket.subject("pi-7.web"), msgspec.json.encode(FAILED))
        await js.publish_async_completed()
        await kv.delete("pi-3.web")
        found = {entry.key: entry for entry in await kv.read_all()}
        assert set(found) == {f"pi-{number}.web" for number in range(1500) if number != 3}
        seven = found["pi-7.web"]
        assert isinstance(seven, Entry)
        assert seven.value == FAILED
        assert [entry.key for entry in await kv.read_all("pi-1499.*")] == ["pi-1499.web"]
        assert await kv.read_all("nobody.*") == []

    on_bucket(nats, body, "many")


def test_a_key_that_is_written_over_while_all_are_read_is_read(nats: Nats) -> None:
    keys = {f"pi-{number}.web" for number in range(200)}

    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        kv = bus.kv(bucket)
        js = bus.client.jetstream()

        async def write() -> None:
            for key in keys:
                await js.publish_async(bucket.subject(key), msgspec.json.encode(RUNNING))
            await js.publish_async_completed()

        async def write_without_a_pause() -> None:
            while True:
                await write()

        await write()
        writing = asyncio.create_task(write_without_a_pause())
        for _ in range(3):
            assert {entry.key for entry in await kv.read_all()} == keys
        writing.cancel()

    on_bucket(nats, body, "written-over")


BAD_VALUES = {
    "invalid-json": b"{",
    "not-utf8": b"\xff\xfe",
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "wrong-type": b'{"type":"state","generation":"one","phase":"Running","reason":"Started"}',
    "unknown-variant": b'{"type":"state","generation":1,"phase":"Levitating","reason":"Started"}',
    "other-kind": b'{"type":"heartbeat","agentVersion":"v0.1.0"}',
    "one-megabyte": b'{"type":"state","message":"' + b"x" * (1024 * 1024 - 100),
}


def test_values_that_do_not_parse_are_told_and_stop_nothing(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        kv = bus.kv(bucket)
        heard: list[Entry[DeviceState] | BadEntry | Deleted] = []

        async def changed(change: Entry[DeviceState] | BadEntry | Deleted) -> None:
            heard.append(change)

        await kv.follow(">", changed)
        for name, data in BAD_VALUES.items():
            await bus.client.jetstream().publish(bucket.subject(f"pi-1.{name}"), data)
        await kv.put("pi-1.good", RUNNING)
        found = {entry.key: entry for entry in await kv.read_all()}
        await eventually(lambda: len(heard) == len(BAD_VALUES) + 1, "every write was heard")
        for name in BAD_VALUES:
            bad = await kv.get(f"pi-1.{name}")
            assert isinstance(bad, BadEntry), name
            assert isinstance(found[f"pi-1.{name}"], BadEntry), name
            assert "DeviceState" in bad.why
            assert len(bad.why) < 500, "a reason is for a log line"
        assert isinstance(found["pi-1.good"], Entry)
        assert isinstance(heard[-1], Entry)
        assert all(isinstance(change, BadEntry) for change in heard[:-1])

    on_bucket(nats, body, "bad")


def test_follow_hears_writes_and_deletions_of_its_pattern(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        heard: list[Entry[DeviceState] | BadEntry | Deleted] = []

        async def changed(change: Entry[DeviceState] | BadEntry | Deleted) -> None:
            heard.append(change)

        kv = bus.kv(bucket)
        await kv.follow("pi-1.*", changed)
        async with operator(nats) as other:
            await other.kv(bucket).put("pi-2.web", RUNNING)
            await other.kv(bucket).put("pi-1.web", RUNNING)
            await other.kv(bucket).delete("pi-1.web")
        await eventually(lambda: len(heard) == 2, "a write and a deletion were heard")
        assert isinstance(heard[0], Entry)
        assert (heard[0].key, heard[0].value) == ("pi-1.web", RUNNING)
        assert heard[1] == Deleted("pi-1.web")

    on_bucket(nats, body, "follow")


def test_ensure_is_idempotent_and_corrects_what_is_wrong(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        js = bus.client.jetstream()
        lax = StreamConfig(name="KV_lax", subjects=["$KV.lax.>"], max_msgs_per_subject=1, allow_rollup_hdrs=True)
        await js.add_stream(lax)
        await bus.ensure(bucket, Bucket("lax", DeviceState))
        await bus.ensure(bucket, Bucket("lax", DeviceState))
        for name in (bucket.name, "lax"):
            with pytest.raises(APIError, match="rollup"):
                await js.publish(f"$KV.{name}.pi-1", b"x", headers={"Nats-Rollup": "all"})
            window = (await js.stream_info(f"KV_{name}")).config.duplicate_window
            assert window == 0.1, "ids of messages fill the server's memory"
        assert isinstance(await bus.kv(Bucket("lax", DeviceState)).get("pi-1"), type(None))

    on_bucket(nats, body, "ensured")


def test_a_bucket_that_is_not_there_is_an_error_that_says_so(nats: Nats) -> None:
    async def run() -> None:
        async with operator(nats) as bus:
            kv = bus.kv(STATES)
            attempts: list[Awaitable[object]] = [kv.get("pi-1.web"), kv.put("pi-1.web", RUNNING), kv.read_all()]
            for attempt in attempts:
                with pytest.raises(Unreachable, match="no such bucket") as error:
                    await attempt
                assert "installed" in error.value.next_step

    asyncio.run(run())


def test_a_refused_write_says_what_was_refused(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        js = bus.client.jetstream()
        config = (await js.stream_info(bucket.stream)).config
        await js.update_stream(config.evolve(max_msg_size=10))
        with pytest.raises(FleetError, match=r"write small/pi-1\.web: .*size"):
            await bus.kv(bucket).put("pi-1.web", RUNNING)

    on_bucket(nats, body, "small")
