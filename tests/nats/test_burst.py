"""Many writes at once, on a real nats-server: each is acknowledged, or told to have failed."""

from __future__ import annotations

import asyncio
import signal

import pytest

from fleet.contract.buckets import APP_USER, Bucket
from fleet.contract.errors import InvalidInput, Unreachable
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.nats.bus import Burst, Bus, Entry, connect
from tests.nats.test_kv import RUNNING, on_bucket, operator
from tests.support.nats import Nats
from tests.support.waiting import eventually


def test_all_that_was_acknowledged_is_stored(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        values = {f"pi-{number}.web": DeviceState(number, Phase.RUNNING, Reason.STARTED) for number in range(1000)}
        burst, kv = Burst(bus.client), bus.kv(bucket)
        assert await kv.put_all(values, burst) == [None] * 1000
        found = {entry.key: entry.value for entry in await kv.read_all() if isinstance(entry, Entry)}
        assert found == values
        assert await kv.put_all({}, burst) == []

    on_bucket(nats, body, "burst")


def test_what_is_refused_is_told_and_the_others_are_stored(nats: Nats) -> None:
    async def body(bus: Bus, bucket: Bucket[DeviceState]) -> None:
        small = Bucket("burst-small", DeviceState, largest=200)
        await bus.ensure(small)
        kv = bus.kv(small)
        long = DeviceState(1, Phase.FAILED, Reason.CRASH_LOOP, "x" * 300)
        outcomes = await kv.put_all({"a": RUNNING, "b": long, "c": RUNNING}, Burst(bus.client))
        assert [type(one) for one in outcomes] == [type(None), InvalidInput, type(None)]
        assert sorted(entry.key for entry in await kv.read_all()) == ["a", "c"]
        (missing,) = await bus.kv(Bucket("never-made", DeviceState)).put_all({"a": RUNNING}, Burst(bus.client))
        assert isinstance(missing, Unreachable)
        assert "no such bucket" in missing.what

    on_bucket(nats, body, "burst-refused")


def test_a_lost_connection_ends_the_wait_at_once_and_the_next_burst_goes_through(nats: Nats) -> None:
    async def run() -> None:
        bucket = Bucket("burst-lost", DeviceState)
        async with operator(nats) as bus:
            await bus.ensure(bucket)
            kv, burst = bus.kv(bucket), Burst(bus.client)
            assert await kv.put_all({"pi-1": RUNNING}, burst) == [None]
            assert nats.process is not None
            nats.process.send_signal(signal.SIGSTOP)
            waiting = asyncio.create_task(kv.put_all({"pi-1": RUNNING}, burst))
            await asyncio.sleep(0)
            nats.kill()
            with pytest.raises(Unreachable, match="NATS did not answer: connection reconnecting"):
                await waiting
            nats.start()
            await eventually(lambda: bus.connected, "it is back", within=30)
            assert await kv.put_all({"pi-1": RUNNING}, burst) == [None]

    asyncio.run(run())


def test_whoever_logs_in_anew_hears_its_own_acknowledgements(nats: Nats) -> None:
    async def run() -> None:
        bucket = Bucket("burst-two", DeviceState)
        first = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        second = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        await first.ensure(bucket)
        bursts = [
            bus.kv(bucket).put_all({f"{name}-{n}": RUNNING for n in range(300)}, Burst(bus.client))
            for name, bus in (("a", first), ("b", second))
        ]
        assert await asyncio.gather(*bursts) == [[None] * 300] * 2
        await first.close()
        await second.close()

    asyncio.run(run())
