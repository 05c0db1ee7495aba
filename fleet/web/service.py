"""The page put together, and its life."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Generator

import structlog
import uvicorn
from starlette.types import ASGIApp

from fleet.callout.keys import Keys
from fleet.callout.metrics import Metrics
from fleet.contract.config import WebPage
from fleet.contract.errors import InvalidInput
from fleet.process.health import listen
from fleet.web import certificates
from fleet.web.acceptor import Acceptor
from fleet.web.application import Application
from fleet.web.cluster import KINDS, Cluster
from fleet.web.connections import Connection, Limits
from fleet.web.messages import Start
from fleet.web.operator_heartbeat import HeartbeatMonitor
from fleet.web.protocol import Http
from fleet.web.subscriber import Subscriber

log = structlog.get_logger()

_BESIDE_STREAMS = 200
"""Connections beside those of pages that are kept up to date; each takes a quarter of a mebibyte."""
_HEADERS = 32 * 1024


class Service:
    """One page, until `stop` is set."""

    def __init__(self, start: Start) -> None:
        """Listen; contact nobody yet.

        Raises:
            Conflict: the port is taken.
            InvalidInput: a certificate is none.
        """
        self.stop = asyncio.Event()
        self.token = ""
        self._start = start
        self._keys = Keys(start.page.issuer, start.page.issuer_ca, Metrics())
        self._application = Application(start.page, start.namespace, self._keys)
        self.store = self._application.store
        self.store.secret_ages = start.secret_ages
        self.operator = HeartbeatMonitor(self.store.sources)
        self._server = https_server(self._application.asgi, start.page)
        self._listener = listen(start.page.host, start.page.port)

    async def run(self) -> None:
        """Serve until `stop` is set.

        Raises:
            FleetError: NATS' authority is none.
        """
        store = self.store
        cluster = Cluster(self._start, lambda: self.token, store)
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(cluster.follow(kind)) for kind in KINDS]
            work.append(tasks.create_task(cluster.check()))
            work.append(tasks.create_task(Subscriber(store).run(self._start)))
            work.append(tasks.create_task(self._keys.keep_fresh()))
            work.append(tasks.create_task(self._application.provider.watch(store.sources)))
            work.append(tasks.create_task(self.operator.watch()))
            work.append(tasks.create_task(certificates.watch(self._start, store)))
            serving = tasks.create_task(_serve(self._server, self._listener))
            log.info("listening", port=self._listener.getsockname()[1])
            await self.stop.wait()
            await self._application.close()
            self._server.should_exit = True
            await serving
            self._server.hang_up()
            for task in work:
                task.cancel()
        await cluster.close()


async def _serve(server: Server, listener: socket.socket) -> None:
    await server.serve([listener])


class Server(uvicorn.Server):
    """Serves until `should_exit` is set, and longer where a browser holds a connection open."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext, limits: Limits) -> None:
        """Nobody is let in yet."""
        super().__init__(config)
        self._tls = tls
        self._limits = limits
        self.acceptors: tuple[Acceptor, ...] = ()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections at the sockets; uvicorn itself listens nowhere."""
        await super().startup([])
        self.acceptors = tuple(Acceptor(one, self._tls, self._protocol, self._limits) for one in sockets or ())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, and wait for the answers that are under way."""
        for acceptor in self.acceptors:
            await acceptor.close()
        await super().shutdown(sockets)

    def hang_up(self) -> None:
        """Drop what browsers still hold open; the transports end in the loop's next turns."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the process."""
        yield

    def _protocol(self, connection: Connection) -> Http:
        return Http(connection, self.config, self.server_state)


def https_server(app: ASGIApp, page: WebPage, limits: Limits | None = None) -> Server:
    """The server to run with `serve([listener])`, and to end with `should_exit`.

    Raises:
        InvalidInput: the certificate is none.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=_HEADERS,
    )
    config.load()
    return Server(config, _tls(page), limits or Limits(page.most_streams + _BESIDE_STREAMS))


def _tls(page: WebPage) -> ssl.SSLContext:
    """TLS with the page's own certificate.

    Raises:
        InvalidInput: it is none, or not for this key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # ssl takes files alone; this one is in memory, and gone at once (memfd_create(2)).
    file = os.memfd_create("web.pem")
    try:
        os.write(file, (page.key + page.certificate).encode())
        context.load_cert_chain(f"/proc/self/fd/{file}")
    except ssl.SSLError as error:
        raise InvalidInput("the web page's certificate is of no use", next_step="install again") from error
    finally:
        os.close(file)
    return context
