"""HTTP on a connection of a browser."""

from __future__ import annotations

import asyncio
import sys

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from fleet.web.connections import CONNECTION, Connection
from fleet.web.refusals import headers, refusal
from fleet.web.stall import StallWatch


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

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no request; in the midst of an answer nothing can be said, and the connection ends."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._refuse()
            if self.cycle is not None:  # pyright: ignore[reportUnnecessaryComparison]
                self.cycle.disconnected = True  # the request that began says nothing more
                self.cycle.message_event.set()
        else:
            self._connection.drop()

    def _refuse(self) -> None:
        error = sys.exception()  # uvicorn calls this while it handles the parser's
        status, text = refusal(error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 0)
        answer = h11.Response(status_code=status, headers=headers(text), reason=status.phrase)
        # After the head of a HEAD request there may be no body.
        body = b"" if self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD" else text.encode()
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """A response was sent; the next request may be there already."""
        self._connection.response_ended()
        super().on_response_complete()
