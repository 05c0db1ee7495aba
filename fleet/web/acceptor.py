"""Accepts the connections of browsers. How many there may be is said in `fleet.web.connections`."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import structlog

from fleet.process.backoff import Backoff
from fleet.web.connections import Connection, Connections, Limits, Stage
from fleet.web.networks import network_of
from fleet.web.refusals import TLS_RECORDS, without_tls

log = structlog.get_logger()

_BACKLOG = 512
"""Connections that wait in the kernel."""
_AT_ONCE = 64
"""Connections that are accepted in one turn of the loop."""
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
"""Seconds until connections are accepted again after the system had no room for one."""
_REFUSED_WITHIN = 5.0
"""Seconds in which a client that began in clear may take the answer."""
_READ_AWAY = 64 * 1024
"""Bytes of such a client that are read at once."""
_SHUTDOWN_TIMEOUT = 5.0
"""Seconds in which a browser may answer the end of TLS."""


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
        self.connections = Connections(limits)
        self._without_tls = without_tls()
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._backoff = Backoff(_PAUSE, _LONGEST_PAUSE)
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._loop.add_reader(listener, self._accept)

    async def close(self) -> None:
        """Accept no more, and close connections without TLS; the server closes the others."""
        self._loop.remove_reader(self._listener)
        if self._paused is not None:
            self._paused.cancel()
        for connection in self.connections.of_stage(Stage.SILENT, Stage.HANDSHAKE):
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
            connections = self.connections
            if connections.number(Stage.SILENT) >= connections.limits.silent:
                connections.make_room(Stage.SILENT)
            connection = Connection(connections, sock, network_of(address[0]))
            connection.enter(Stage.SILENT, connections.limits.first_request_within)
            self._loop.add_reader(sock, self._first_byte, connection)

    def _first_byte(self, connection: Connection) -> None:
        try:
            first = connection.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        if first and first[0] not in TLS_RECORDS:
            self._refuse(connection)
            return
        if not first or not self.connections.has_room():
            connection.drop()
            return
        self._loop.remove_reader(connection.sock)
        connection.first_byte()
        task = self._loop.create_task(self._begin_tls(connection), name="TLS of a browser")
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def _refuse(self, connection: Connection) -> None:
        """Tell a client that begins in clear what this port speaks; it never gets a buffer for TLS."""
        self._loop.remove_reader(connection.sock)
        try:
            connection.sock.send(self._without_tls)
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            connection.drop()
            return
        # The kernel would take the answer back if the connection were closed with something unread.
        connection.enter(Stage.SILENT, _REFUSED_WITHIN)
        self._loop.add_reader(connection.sock, self._read_away, connection)

    def _read_away(self, connection: Connection) -> None:
        try:
            over = not connection.sock.recv(_READ_AWAY)
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            connection.drop()

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
