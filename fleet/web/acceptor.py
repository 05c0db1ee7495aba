"""Accepts the connections of browsers: how many there may be, and which are closed first.

A connection that has sent nothing costs a socket. With its first byte TLS begins, and asyncio's TLS takes a buffer of
256 KiB for it, so there may be fewer of those. A connection without a request is closed soon, and at once when a new
one needs its place. A request of a signed-in user is cut off only where that user takes nothing of the answer.

One address has no fixed limit, because behind a proxy all users have the same one. When there is no room, the address
with the most connections gives way, by its oldest: whoever opens many takes no place of an address that has fewer.
Nothing is kept of an address beyond its connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import ssl
import time
from collections.abc import Callable

import msgspec
import structlog
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from fleet.process.backoff import Backoff
from fleet.web.networks import heaviest, network_of
from fleet.web.stall import StallWatch

log = structlog.get_logger()

CONNECTION = "connection"
"""Under this name a request's state holds its `Connection`."""
_BACKLOG = 512
"""Connections that wait in the kernel."""
_AT_ONCE = 64
"""Connections that are accepted in one turn of the loop."""
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
"""Seconds until connections are accepted again after the system had no room for one."""
_LOGGED_EVERY = 60.0
"""Seconds between two lines of the log that there is no room."""
_SHUTDOWN_TIMEOUT = 5.0
"""Seconds in which a browser may answer the end of TLS."""


class Limits(msgspec.Struct, frozen=True):
    """How many connections there may be, and for how long (seconds) each may do what."""

    open: int
    """Connections with TLS, which cost memory."""
    silent: int = 256
    """Connections that have sent nothing yet, beside those."""
    first_request_within: float = 30.0
    """From the connection to the end of the first request's head. On a machine that is full the page comes last."""
    idle_within: float = 25.0
    """Between a response and the end of the next request's head. The server itself closes an idle connection before."""
    answered_within: float = 60.0
    """From a request to the end of the response, for a user who is not signed in."""
    stalled_within: float = 30.0
    """Without taking anything of a response, for anybody."""


class Stage(enum.Enum):
    """What happens on a connection."""

    SILENT = "silent"
    HANDSHAKE = "handshake"
    IDLE = "idle"
    REQUESTING = "requesting"
    AUTHENTICATED = "authenticated"


_WITHOUT_REQUEST = (Stage.HANDSHAKE, Stage.IDLE)
"""Connections with TLS that are closed first when there is no room."""


class Connection:
    """One connection."""

    def __init__(self, acceptor: Acceptor, sock: socket.socket, network: str) -> None:
        """It was just accepted, from `network` (see `fleet.web.networks`)."""
        self._acceptor = acceptor
        self.limits = acceptor.limits
        self.sock = sock
        self.network = network
        self.stage: Stage | None = None
        self.since = 0.0
        self.transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, stage: Stage, seconds: float | None) -> None:
        """Begin a stage. After so many seconds in it the connection is closed; None is no limit."""
        self._acceptor.count(self, stage)
        self._cancel_timer()
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.drop)

    def first_byte(self) -> None:
        """The time limit for its first request goes on."""
        self._acceptor.count(self, Stage.HANDSHAKE)

    def connected(self, transport: asyncio.Transport) -> None:
        """TLS is established."""
        self.transport = transport
        if self.stage is None:  # it was dropped meanwhile
            transport.abort()

    def request_began(self) -> None:
        """A request was received."""
        if self.stage in {Stage.HANDSHAKE, Stage.IDLE}:
            self.enter(Stage.REQUESTING, self.limits.answered_within)

    def authenticated(self) -> None:
        """Its request is of a signed-in user with the role."""
        if self.stage is Stage.REQUESTING:
            self.enter(Stage.AUTHENTICATED, None)

    def response_ended(self) -> None:
        """Its request was answered."""
        if self.stage in {Stage.REQUESTING, Stage.AUTHENTICATED}:
            self.enter(Stage.IDLE, self.limits.idle_within)

    def drop(self) -> None:
        """Close it at any stage."""
        stage = self.stage
        self.closed()
        if self.transport is not None:
            self.transport.abort()
        elif stage is Stage.SILENT:
            asyncio.get_running_loop().remove_reader(self.sock)
            self.sock.close()
        else:  # during the handshake: it reads the end, and closes what it holds
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def closed(self) -> None:
        """It is closed, or about to be."""
        self._acceptor.count(self, None)
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Http(H11Protocol):
    """HTTP on one connection, which is kept up to date about its stage."""

    def __init__(self, connection: Connection, config: Config, state: ServerState) -> None:
        """`state` is the server's."""
        super().__init__(config=config, server_state=state, app_state={CONNECTION: connection})
        self._connection = connection
        self._stall: StallWatch | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """TLS is established."""
        super().connection_made(transport)
        self._stall = StallWatch(transport, self._connection.drop, self._connection.limits.stalled_within)
        self._connection.connected(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        super().connection_lost(exc)
        self.resume_writing()
        self._connection.closed()

    def pause_writing(self) -> None:
        """More is to be sent than the buffers hold."""
        super().pause_writing()
        if self._stall is not None:
            self._stall.begin()

    def resume_writing(self) -> None:
        """The buffers have room again."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.end()

    def handle_events(self) -> None:
        """uvicorn calls this when bytes were read: a request may have begun."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self._connection.request_began()

    def on_response_complete(self) -> None:
        """A response was sent; the next request may be there already."""
        self._connection.response_ended()
        super().on_response_complete()


class Acceptor:
    """Accepts connections at one socket until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext,
        serve: Callable[[Connection], asyncio.Protocol],
        limits: Limits,
    ) -> None:
        """`serve` returns the protocol for a connection."""
        self._listener = listener
        self._tls = tls
        self._serve = serve
        self.limits = limits
        self._loop = asyncio.get_running_loop()
        self._by_stage: dict[Stage, dict[Connection, None]] = {stage: {} for stage in Stage}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._backoff = Backoff(_PAUSE, _LONGEST_PAUSE)
        self._logged_at = -_LOGGED_EVERY
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._loop.add_reader(listener, self._accept)

    def number(self, *stages: Stage) -> int:
        """The number of connections in these stages."""
        return sum(len(self._by_stage[stage]) for stage in stages)

    def count(self, connection: Connection, stage: Stage | None) -> None:
        """Count a connection under another stage; None removes it."""
        if connection.stage is not None:
            del self._by_stage[connection.stage][connection]
        connection.stage = stage
        if stage is not None:
            connection.since = self._loop.time()
            self._by_stage[stage][connection] = None

    async def close(self) -> None:
        """Accept no more, and close connections without TLS; the server closes the others."""
        self._loop.remove_reader(self._listener)
        if self._paused is not None:
            self._paused.cancel()
        for connection in (*self._by_stage[Stage.SILENT], *self._by_stage[Stage.HANDSHAKE]):
            connection.drop()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # there are too many open files, or there is no memory
                log.warning("no connection is accepted for a moment", why=str(error))
                self._loop.remove_reader(self._listener)
                pause = self._backoff.next()
                self._paused = self._loop.call_later(pause, self._loop.add_reader, self._listener, self._accept)
                return
            self._backoff.reset()
            sock.setblocking(False)
            if self.number(Stage.SILENT) >= self.limits.silent:
                self.make_room(Stage.SILENT)
            connection = Connection(self, sock, network_of(address[0]))
            connection.enter(Stage.SILENT, self.limits.first_request_within)
            self._loop.add_reader(sock, self._first_byte, connection)

    def _first_byte(self, connection: Connection) -> None:
        try:
            ended = not connection.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended or not self._has_room():
            connection.drop()
            return
        self._loop.remove_reader(connection.sock)
        connection.first_byte()
        task = self._loop.create_task(self._begin_tls(connection), name="TLS of a browser")
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _begin_tls(self, connection: Connection) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._serve(connection), connection.sock, ssl=self._tls, ssl_shutdown_timeout=_SHUTDOWN_TIMEOUT
            )
        except OSError as error:  # also ssl.SSLError and TimeoutError
            log.debug("no TLS", why=str(error))
            # asyncio's frames hold the error, and the error them, and with them the buffers: until the next collection.
            error.__traceback__ = None
            connection.closed()

    def _has_room(self) -> bool:
        """Whether another connection may begin TLS; if needed, one of no signed-in user is closed for it."""
        if self.number(*_WITHOUT_REQUEST, Stage.REQUESTING, Stage.AUTHENTICATED) < self.limits.open:
            return True
        return self.make_room(*_WITHOUT_REQUEST, Stage.REQUESTING)

    def make_room(self, *stages: Stage) -> bool:
        """Close a connection in one of these stages: of the network that has the most, and one without a request first.

        Among those it is the oldest. It looks at each connection, of which there are a few hundred (`Limits`).
        """
        candidates = [connection for stage in stages for connection in self._by_stage[stage]]
        if not candidates:
            return False
        crowd, most = heaviest(connection.network for connection in candidates)
        dropped = min(
            (connection for connection in candidates if connection.network in crowd),
            key=lambda connection: (connection.stage is Stage.REQUESTING, connection.since),
        )
        if time.monotonic() - self._logged_at > _LOGGED_EVERY:
            self._logged_at = time.monotonic()
            log.warning(
                "there are too many connections: the oldest of the address with the most are closed",
                stage=dropped.stage,
                address=dropped.network,
                connections=most,
            )
        dropped.drop()
        return True
