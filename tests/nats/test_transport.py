"""Whoever waits for the end of a connection is not cancelled with another one that waits for it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from fleet.nats.transport import Transport


class Writer:
    """A connection whose peer never answers: asyncio's own waiter, which all who wait for its end share."""

    def __init__(self, error: OSError | None = None) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self.aborted = 0
        if error is not None:
            self.closed.set_exception(error)

    async def wait_closed(self) -> None:
        await self.closed

    @property
    def transport(self) -> Writer:
        return self

    def abort(self) -> None:
        self.aborted += 1


def closing(writer: Writer) -> Transport:
    transport = Transport()
    transport._io_writer = cast("asyncio.StreamWriter", writer)  # pyright: ignore[reportPrivateUsage]
    return transport


def test_a_reconnect_that_is_cancelled_does_not_cancel_the_close_that_follows() -> None:
    async def run() -> None:
        writer = Writer()
        transport = closing(writer)
        reconnect = asyncio.create_task(transport.wait_closed())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reconnect.cancel()
        await transport.wait_closed()
        assert writer.aborted == 1
        assert reconnect.cancelled()

    asyncio.run(run())


def test_what_was_given_up_once_is_not_waited_for_again() -> None:
    async def run() -> None:
        writer = Writer()
        transport = closing(writer)
        await transport.wait_closed()
        await transport.wait_closed()
        assert writer.aborted == 1

    asyncio.run(run())


def test_the_error_of_a_connection_is_told() -> None:
    async def run() -> None:
        with pytest.raises(ConnectionResetError):
            await closing(Writer(ConnectionResetError())).wait_closed()

    asyncio.run(run())
