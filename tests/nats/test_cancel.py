"""A cancellation that comes in the moment in which a request ends is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import nats.errors
import pytest
from nats.aio.client import Client

from fleet.contract.buckets import APP_USER
from fleet.nats.bus import Bus, connect
from fleet.nats.cancellation import keep_cancellation
from fleet.nats.client import Login, open_client
from fleet.nats.kv import translated
from fleet.nats.transport import Transport
from tests.support.nats import Nats

LOGIN = Login("nats://127.0.0.1:1", "fleet-app", "")


async def cancelled_as_it_ends(
    act: Callable[[Awaitable[int]], Awaitable[object]], answer: object
) -> asyncio.Task[object]:
    """A request of the NATS client that is answered and cancelled in one turn of the loop."""
    ended = asyncio.get_running_loop().create_future()

    async def whole() -> object:
        return await act(asyncio.wait_for(ended, 5))

    task = asyncio.create_task(whole())
    await asyncio.sleep(0)
    if isinstance(answer, Exception):
        ended.set_exception(answer)
    else:
        ended.set_result(answer)
    task.cancel()
    await asyncio.wait([task])
    return task


@pytest.mark.parametrize("answer", [1, TimeoutError("none")], ids=["answered", "failed"])
def test_a_request_heeds_it(answer: object) -> None:
    async def request(call: Awaitable[int]) -> int:
        return await translated(call, "ask")

    assert asyncio.run(cancelled_as_it_ends(request, answer)).cancelled()


@pytest.mark.parametrize("answer", [None, nats.errors.AuthorizationError()], ids=["accepted", "refused"])
def test_a_login_heeds_it_and_leaves_nothing_open(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Client] = []

    async def close(client: Client) -> None:
        closed.append(client)

    async def log_in(call: Awaitable[int]) -> object:
        async def connect(_: Client, *__: object, **___: object) -> None:
            await call

        monkeypatch.setattr(Client, "connect", connect)
        monkeypatch.setattr(Client, "is_connected", property(lambda _: True))
        return await open_client(LOGIN, notice=lambda _: None, attempts=2, closed=None)

    monkeypatch.setattr(Client, "close", close)
    assert asyncio.run(cancelled_as_it_ends(log_in, answer)).cancelled()
    assert len(closed) == 1


def test_a_reconnect_heeds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def again(call: Awaitable[int]) -> None:
        async def force_reconnect(_: Client) -> None:
            await call

        monkeypatch.setattr(Client, "force_reconnect", force_reconnect)
        await Bus(Client()).reconnect()

    assert asyncio.run(cancelled_as_it_ends(again, 1)).cancelled()


def test_what_cleans_up_after_a_cancellation_may_still_ask() -> None:
    done: list[int] = []

    async def tidy() -> int:
        return 7

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append(await translated(tidy(), "tidy up"))

    async def body() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(body())
    assert done == [7]


def test_a_deadline_inside_is_none_of_it() -> None:
    async def body() -> None:
        with keep_cancellation(), pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    asyncio.run(body())


def test_reading_that_is_cancelled_begins_no_reconnect(nats: Nats) -> None:
    """A loop that ends cancels every task in any order, and waits for no new one."""

    async def body() -> None:
        bus = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        try:
            reading = cast("asyncio.Task[None]", bus.client._reading_task)  # pyright: ignore[reportPrivateUsage]
            reading.cancel()
            await asyncio.wait([reading])
            assert bus.connected
        finally:
            await bus.close()

    asyncio.run(body())


def test_a_close_that_is_cancelled_leaves_no_socket_open(nats: Nats) -> None:
    async def body() -> None:
        bus = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        writer = cast("Transport", bus.client._transport)._io_writer  # pyright: ignore[reportPrivateUsage]
        assert writer is not None
        closing = asyncio.create_task(bus.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        assert writer.transport.is_closing()

    asyncio.run(body())
