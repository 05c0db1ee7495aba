"""The connections of browsers: how many there may be, and which are closed first.

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
import time
from collections import Counter

import msgspec
import structlog

from fleet.web.networks import heaviest

log = structlog.get_logger()

CONNECTION = "connection"
"""Under this name a request's state holds its `Connection`."""
_LOGGED_EVERY = 60.0
"""Seconds between two lines of the log that there is no room."""


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

    @property
    def of_one_user(self) -> int:
        """Connections of one user that keep their places when there is no room; further ones are as a stranger's."""
        return self.open // 2


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

    def __init__(self, connections: Connections, sock: socket.socket, network: str) -> None:
        """It was just accepted, from `network` (see `fleet.web.networks`)."""
        self._all = connections
        self.limits = connections.limits
        self.sock = sock
        self.network = network
        self.user = ""
        """The subject of the signed-in user, while it answers one's request."""
        self.stage: Stage | None = None
        self.since = 0.0
        self.transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, stage: Stage, seconds: float | None) -> None:
        """Begin a stage. After so many seconds in it the connection is closed; None is no limit."""
        self._all.count(self, stage)
        self._cancel_timer()
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.drop)

    def first_byte(self) -> None:
        """The time limit for its first request goes on."""
        self._all.count(self, Stage.HANDSHAKE)

    def connected(self, transport: asyncio.Transport) -> None:
        """TLS is established."""
        self.transport = transport
        if self.stage is None:  # it was dropped meanwhile
            transport.abort()

    def request_began(self) -> None:
        """A request was received."""
        if self.stage in {Stage.HANDSHAKE, Stage.IDLE}:
            self.enter(Stage.REQUESTING, self.limits.answered_within)

    def authenticated(self, user: str) -> None:
        """Its request is of a signed-in user with the role: this subject."""
        if self.stage is Stage.REQUESTING and self._all.of_user(user) < self.limits.of_one_user:
            self.user = user
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
        self._all.count(self, None)
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Connections:
    """Those of one page, by stage."""

    def __init__(self, limits: Limits) -> None:
        """There are none."""
        self.limits = limits
        self._by_stage: dict[Stage, dict[Connection, None]] = {stage: {} for stage in Stage}
        self._by_user = Counter[str]()
        self._logged_at = -_LOGGED_EVERY

    def of_user(self, user: str) -> int:
        """The number of connections that answer this subject, and keep their places."""
        return self._by_user[user]

    def number(self, *stages: Stage) -> int:
        """The number of connections in these stages."""
        return sum(len(self._by_stage[stage]) for stage in stages)

    def count(self, connection: Connection, stage: Stage | None) -> None:
        """Count a connection under another stage; None removes it."""
        if connection.stage is not None:
            del self._by_stage[connection.stage][connection]
        if connection.stage is Stage.AUTHENTICATED:
            self._by_user -= Counter((connection.user,))
        connection.stage = stage
        if stage is not None:
            connection.since = asyncio.get_running_loop().time()
            self._by_stage[stage][connection] = None
        if stage is Stage.AUTHENTICATED:
            self._by_user[connection.user] += 1

    def of_stage(self, *stages: Stage) -> list[Connection]:
        """The connections in these stages."""
        return [connection for stage in stages for connection in self._by_stage[stage]]

    def has_room(self) -> bool:
        """Whether another connection may begin TLS; if needed, one of no signed-in user is closed for it."""
        if self.number(*_WITHOUT_REQUEST, Stage.REQUESTING, Stage.AUTHENTICATED) < self.limits.open:
            return True
        return self.make_room(*_WITHOUT_REQUEST, Stage.REQUESTING)

    def make_room(self, *stages: Stage) -> bool:
        """Close a connection in one of these stages: of the network that has the most, and one without a request first.

        Among those it is the oldest. It looks at each connection, of which there are a few hundred (`Limits`).
        """
        candidates = self.of_stage(*stages)
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
