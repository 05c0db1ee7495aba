"""Behind a router that looks at the client's first bytes, as Ingress controllers and OpenShift's router do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import msgspec
import pytest

from fleet.contract.buckets import APP_USER
from fleet.contract.errors import Unreachable
from fleet.nats.bus import connect
from fleet.nats.client import Login
from tests.support.nats import Nats
from tests.support.tls import make_tls

_CLIENT_HELLO = b"\x16"
"""The first byte of TLS (RFC 8446, handshake record)."""


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Nats]:
    server = Nats(tmp_path / "nats", make_tls(tmp_path), tls_first=True)
    server.start()
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def router(port: int) -> AsyncGenerator[int]:
    """Leads to `port` whoever begins with TLS, and hears nothing from there before."""
    busy: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
        finally:  # also when the router is left before its client has gone
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await reader.read(4096)
        if hello[:1] != _CLIENT_HELLO:
            writer.close()
            return
        from_nats, to_nats = await asyncio.open_connection("127.0.0.1", port)
        to_nats.write(hello)
        for task in (pump(reader, to_nats), pump(from_nats, writer)):
            busy.add(asyncio.create_task(task))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


def login(nats: Nats, scheme: str, port: int) -> Login:
    return msgspec.structs.replace(nats.login(APP_USER), url=f"{scheme}://127.0.0.1:{port}")


def reach(nats: Nats, scheme: str, attempts: int = 1) -> None:
    async def run() -> None:
        async with router(nats.port) as port:
            bus = await connect(login(nats, scheme, port), notice=lambda _: None, attempts=attempts)
            assert bus.connected
            await bus.close()

    asyncio.run(run())


def test_who_begins_with_tls_gets_through(first: Nats) -> None:
    reach(first, "tls+first", attempts=10)  # a busy server hears nothing for 50 ms, and greets


def test_who_waits_for_a_greeting_does_not(first: Nats) -> None:
    """Else the test above proves nothing."""
    with pytest.raises(Unreachable):
        reach(first, "tls")


def test_clients_of_an_earlier_release_are_greeted_all_the_same(first: Nats) -> None:
    async def run() -> None:
        bus = await connect(login(first, "tls", first.port), notice=lambda _: None, attempts=1)
        await bus.close()

    asyncio.run(run())
