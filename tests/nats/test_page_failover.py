"""The web page when one of three servers of NATS ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

import msgspec

from fleet.contract.buckets import DEVICE_INFO, DEVICE_STATE, WEB_USER
from fleet.contract.versions import user_of
from fleet.contract.wire import encode
from fleet.install.secrets import ServerSecrets
from fleet.web.messages import Start
from fleet.web.source import NATS
from fleet.web.store import Store
from fleet.web.subscriber import Subscriber
from tests.support.nats_cluster import HOST, Server, make_buckets, play, together
from tests.support.operator import INFO
from tests.support.tls import Tls
from tests.support.web import web_page


class Service:
    """One address for all servers, as in a cluster: a new connection leads to the server at `port`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = ""

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncGenerator[None]:
        server = await asyncio.start_server(self._connect, HOST, 0)
        self.url = f"tls://{HOST}:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield
            server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                onward, back = await asyncio.open_connection(HOST, self.port)
            except OSError:
                return
            with contextlib.closing(back):
                ways = [asyncio.create_task(_pass_on(reader, back)), asyncio.create_task(_pass_on(onward, writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def until(store: Store, condition: Callable[[], bool]) -> None:
    """Wait until the page's data is as it must be."""
    changed = asyncio.Event()
    forget = store.subscribe(changed.set)
    async with asyncio.timeout(60):
        while not condition():
            await changed.wait()
            changed.clear()
    forget()


def test_the_web_page_goes_on_with_another_server_and_shows_the_gap(
    three: list[Server], secrets: ServerSecrets, tls: Tls
) -> None:
    together(three)
    make_buckets(three[1], secrets, DEVICE_INFO, DEVICE_STATE)
    user, store, service = user_of(WEB_USER, secrets.passwords.web), Store(), Service(three[0].port)

    def known(engine: str) -> bool:
        return any(f"engine {engine}" in line.text for line in store.tail.since(0, 100)[0])

    async def inform(engine: str) -> None:
        """What a device says at the second server."""
        content = encode(msgspec.structs.replace(INFO, engine=engine))
        await asyncio.to_thread(
            play, three[1], secrets, lambda bus: bus.client.publish(DEVICE_INFO.subject("pi-1"), content)
        )
        await until(store, lambda: known(engine))

    async def scene() -> None:
        page = web_page(tls, nats_user=user, nats_pass=secrets.passwords.web)
        async with service.serve():
            start = Start(page, "here", service.url, secrets.authority, "", "")
            reading = asyncio.create_task(Subscriber(store).run(start))
            await until(store, lambda: not store.sources.known[NATS].why)
            await inform("podman 1")
            three[0].process.kill()
            await until(store, lambda: bool(store.sources.known[NATS].why))
            service.port = three[2].port
            await until(store, lambda: not store.sources.known[NATS].why)
            assert [gap.source for gap in store.sources.gaps] == [NATS]
            await inform("podman 2")
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(scene())
