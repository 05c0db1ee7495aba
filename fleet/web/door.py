"""Connections are accepted here: how many there may be, and which of them go.

A connection that has sent nothing costs a socket. With its first byte TLS begins, and asyncio's TLS takes a buffer of
256 KiB for it, so there may be fewer of those. Whoever asks nothing is closed soon, and at once when there is no room
for somebody new: the oldest goes first. A request of somebody who is signed in is never cut off. There is no limit for
one address: behind a proxy everybody has the same.
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

log = structlog.get_logger()

CALLER = "caller"
"""Under this name a request's state holds its `Caller`."""
_BACKLOG = 512
"""Connections that wait in the kernel."""
_AT_ONCE = 64
"""Connections that are accepted in one turn of the loop."""
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
"""Seconds until connections are accepted again after the system had no room for one."""
_TOLD_EVERY = 60.0
"""Seconds between two lines of the log that there is no room."""
_FAREWELL = 5.0
"""Seconds in which a browser may answer the end of TLS."""


class Limits(msgspec.Struct, frozen=True):
    """How many connections there may be, and for how long (seconds) each may do what."""

    open: int
    """Connections with TLS, which cost memory."""
    silent: int = 256
    """Connections that have sent nothing yet, beside those."""
    asks_within: float = 30.0
    """From the connection to the end of the first request's head. On a machine that is full the page comes last."""
    rests: float = 25.0
    """Between an answer and the end of the next request's head. The server ends an idle connection in words before."""
    answered_within: float = 60.0
    """From a request to the end of the answer, where nobody is signed in."""


class Stage(enum.Enum):
    """What a connection does."""

    SILENT = "silent"
    OPENING = "opening"
    RESTING = "resting"
    ASKING = "asking"
    KEPT = "kept"


_ASK_NOTHING = (Stage.OPENING, Stage.RESTING)
"""Those with TLS that go first when there is no room, the oldest of both before the others."""


class Caller:
    """One connection."""

    def __init__(self, door: Door, sock: socket.socket) -> None:
        """It was just accepted."""
        self._door = door
        self.sock = sock
        self.stage: Stage | None = None
        self.since = 0.0
        self.transport: asyncio.Transport | None = None
        self._over: asyncio.TimerHandle | None = None

    def enter(self, stage: Stage, seconds: float | None) -> None:
        """Begin a stage, which may last so long; None is as long as it likes."""
        self._door.count(self, stage)
        self._stop_the_clock()
        if seconds is not None:
            self._over = asyncio.get_running_loop().call_later(seconds, self.drop)

    def speaks(self) -> None:
        """Its first byte is there. The time for its first request goes on."""
        self._door.count(self, Stage.OPENING)

    def opened(self, transport: asyncio.Transport) -> None:
        """TLS stands."""
        self.transport = transport
        if self.stage is None:  # it was dropped meanwhile
            transport.abort()

    def asks(self) -> None:
        """A request has come."""
        if self.stage in {Stage.OPENING, Stage.RESTING}:
            self.enter(Stage.ASKING, self._door.limits.answered_within)

    def is_signed_in(self) -> None:
        """Its request is of somebody who may look."""
        if self.stage is Stage.ASKING:
            self.enter(Stage.KEPT, None)

    def is_answered(self) -> None:
        """Its request was answered."""
        if self.stage in {Stage.ASKING, Stage.KEPT}:
            self.enter(Stage.RESTING, self._door.limits.rests)

    def drop(self) -> None:
        """Close the connection, whatever it does."""
        stage = self.stage
        self.gone()
        if self.transport is not None:
            self.transport.abort()
        elif stage is Stage.SILENT:
            asyncio.get_running_loop().remove_reader(self.sock)
            self.sock.close()
        else:  # TLS is about to stand: the handshake reads the end, and closes what it holds
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def gone(self) -> None:
        """It is closed, or about to be."""
        self._door.count(self, None)
        self._stop_the_clock()

    def _stop_the_clock(self) -> None:
        if self._over is not None:
            self._over.cancel()
            self._over = None


class Http(H11Protocol):
    """Speaks HTTP with a caller, and says what he does."""

    def __init__(self, caller: Caller, config: Config, state: ServerState) -> None:
        """`state` is the server's."""
        super().__init__(config=config, server_state=state, app_state={CALLER: caller})
        self._caller = caller

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """TLS stands."""
        super().connection_made(transport)
        self._caller.opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        super().connection_lost(exc)
        self._caller.gone()

    def handle_events(self) -> None:
        """Requests begin here."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self._caller.asks()

    def on_response_complete(self) -> None:
        """A request was answered; the next one may be there already."""
        self._caller.is_answered()
        super().on_response_complete()


class Door:
    """Accepts connections at one socket until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext,
        serve: Callable[[Caller], asyncio.Protocol],
        limits: Limits,
    ) -> None:
        """`serve` returns the protocol that speaks with a caller."""
        self._listener = listener
        self._tls = tls
        self._serve = serve
        self.limits = limits
        self._loop = asyncio.get_running_loop()
        self._callers: dict[Stage, dict[Caller, None]] = {stage: {} for stage in Stage}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._backoff = Backoff(_PAUSE, _LONGEST_PAUSE)
        self._told = -_TOLD_EVERY
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._loop.add_reader(listener, self._accept)

    def number(self, *stages: Stage) -> int:
        """How many callers are in these stages."""
        return sum(len(self._callers[stage]) for stage in stages)

    def count(self, caller: Caller, stage: Stage | None) -> None:
        """A caller begins a stage; None is the end of it."""
        if caller.stage is not None:
            del self._callers[caller.stage][caller]
        caller.stage = stage
        if stage is not None:
            caller.since = self._loop.time()
            self._callers[stage][caller] = None

    async def close(self) -> None:
        """Accept nobody any more, and drop those with whom no TLS stands; the server ends its own connections."""
        self._loop.remove_reader(self._listener)
        if self._paused is not None:
            self._paused.cancel()
        for caller in (*self._callers[Stage.SILENT], *self._callers[Stage.OPENING]):
            caller.drop()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
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
                self._drop_oldest(Stage.SILENT)
            caller = Caller(self, sock)
            caller.enter(Stage.SILENT, self.limits.asks_within)
            self._loop.add_reader(sock, self._first_byte, caller)

    def _first_byte(self, caller: Caller) -> None:
        try:
            ended = not caller.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended or not self._has_room():
            caller.drop()
            return
        self._loop.remove_reader(caller.sock)
        caller.speaks()
        task = self._loop.create_task(self._begin_tls(caller), name="TLS of a browser")
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _begin_tls(self, caller: Caller) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._serve(caller), caller.sock, ssl=self._tls, ssl_shutdown_timeout=_FAREWELL
            )
        except OSError as error:  # also ssl.SSLError and TimeoutError
            log.debug("no TLS", why=str(error))
            # asyncio's frames hold the error, and the error them, and with them the buffers: until the next collection.
            error.__traceback__ = None
            caller.gone()

    def _has_room(self) -> bool:
        """Whether another connection may begin TLS; somebody who asks nothing, or no one we know, gives way to it."""
        if self.number(*_ASK_NOTHING, Stage.ASKING, Stage.KEPT) < self.limits.open:
            return True
        return self._drop_oldest(*_ASK_NOTHING) or self._drop_oldest(Stage.ASKING)

    def _drop_oldest(self, *stages: Stage) -> bool:
        heads = [next(iter(self._callers[stage])) for stage in stages if self._callers[stage]]
        if not heads:
            return False
        oldest = min(heads, key=lambda caller: caller.since)
        if time.monotonic() - self._told > _TOLD_EVERY:
            self._told = time.monotonic()
            log.warning("there are too many connections: the oldest that ask nothing are closed", stage=oldest.stage)
        oldest.drop()
        return True
