"""nats-py's client, held to what a fleet needs: it never gives up, waits with jitter, and speaks no word in clear.

Left alone, nats-py 2.16 closes for good when the server names an error such as an expired login, waits the same time
before every attempt, ends its reconnect loop when a credential cannot be had, sends the credential in clear when
the other side offers no TLS, takes a flush for done before the server has what was sent, and waits on for answers that
a lost connection cannot bring.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import cast

import msgspec
import nats.errors
from nats.aio.client import Client, Server, Srv
from nats.aio.msg import Msg
from nats.protocol.parser import PERMISSIONS_ERR

from fleet.contract.errors import FleetError, InvalidInput, NotPermitted, Unreachable
from fleet.nats.cancellation import keep_cancellation
from fleet.nats.headers import Delivery, deletes, parse_headers, text
from fleet.nats.transport import Transport
from fleet.process.backoff import pause
from fleet.process.failures import in_words
from fleet.process.tls import client_context

_FLUSH_LIMIT = 5
"""Seconds for the server to confirm that it has everything."""

_TLS_FIRST = "tls+first://"
"""Begins the address of a NATS behind a router that must see TLS before it knows where to: clients begin with TLS,
where NATS otherwise greets in clear."""

Token = Callable[[], str]
Notice = Callable[[str], None]
MessageHandler = Callable[[Delivery], None]
"""Takes a message. It must not wait, nor raise."""

DISCONNECTED = "disconnected"
RECONNECTED = "reconnected"
"""The two notices that a reader may have to act on: changes between them were not received."""


_SERVICE = (0.1, 0.5)
_DEVICE = (0.5, 4.0)
"""Seconds before an attempt: at most before the first, and at most before any.

Devices come back after the services: until the callout is there, the server leaves a login waiting for seconds."""


class Login(msgspec.Struct, frozen=True):
    """How a connection presents itself. `ca` is PEM, and its presence demands TLS.

    `token` is asked again at every reconnect; a token that cannot be had is a `FleetError`, and is asked for again.
    """

    url: str
    name: str
    ca: str
    user: str = ""
    password: str = ""
    token: Token | None = None
    inbox: str = "_INBOX"

    @property
    def tls_first(self) -> bool:
        """Whether to begin with TLS, instead of waiting for the server's greeting."""
        return self.url.startswith(_TLS_FIRST)

    @property
    def address(self) -> str:
        """The URL as nats-py knows it."""
        return self.url.replace(_TLS_FIRST, "tls://", 1)

    def pause(self, failures: int) -> float:
        """Seconds before the next attempt, after so many that failed in a row."""
        first, longest = _DEVICE if self.token else _SERVICE
        return pause(first, longest, failures)

    def next_server(self, servers: list[Server], _info: dict[str, object]) -> tuple[Server, float]:
        """nats-py's question where to reconnect, and after how many seconds."""
        server = min(servers, key=lambda known: known.reconnects)
        return server, self.pause(server.reconnects)

    def __repr__(self) -> str:
        return f"Login({self.name!r} at {self.url})"


class _Client(Client):
    def __init__(self) -> None:
        super().__init__()
        self._transport = self._socket = Transport()
        self._reply = b""
        self.handlers: dict[int, MessageHandler] = {}
        self.on_loss: list[Callable[[], None]] = []

    async def _read_loop(self) -> None:
        """Connect anew when the loop ends by itself: nats-py would stay connected, and read nothing any more."""
        with keep_cancellation():  # a loop that was cancelled starts no other one
            await super()._read_loop()
        if self.is_connected:
            await self._process_op_err(nats.errors.ProtocolError())

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """Skip a message that cannot be handled; the next ones are."""
        self._reply = reply
        try:
            if taker := self.handlers.get(sid):
                size = len(subject) + len(headers or b"") + len(data)
                deleted = deletes(await self._process_headers(headers))
                taker(Delivery(subject, reply, None if deleted else data, size, headers or b""))
            else:
                await super()._process_msg(sid, subject, reply, data, headers)
        except Exception as error:
            await self._error_cb(nats.errors.Error(f"a message on {text(subject)!r} was skipped: {error!r}"))

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        return parse_headers(headers, self._reply) if headers else None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return Msg(subject=text(subject), reply=text(reply), data=data, headers=headers, _client=self, _sid=sid)

    async def flush(self, timeout: int = _FLUSH_LIMIT) -> None:  # noqa: ASYNC109 - nats-py's signature
        """Send what waits, then the PING; nats-py lets the PING overtake it, so that its answer proves nothing.

        A reconnect that loses its connection here is cancelled for a new one, and must not go on beside that.
        """
        with keep_cancellation():
            await self._flush_pending(force_flush=True)
        with keep_cancellation():
            await super().flush(timeout)

    async def _process_connect_init(self) -> None:
        with keep_cancellation():
            await super()._process_connect_init()

    async def _connect_to_server(self, s: Srv) -> None:
        """Close what the attempt before has left open; nats-py leaves that to the garbage collector."""
        self._socket.drop()
        await super()._connect_to_server(s)

    async def _process_err(self, err_msg: str) -> None:
        """Log in anew after whatever the server named; nats-py would close for good."""
        if PERMISSIONS_ERR in err_msg:
            await super()._process_err(err_msg)
        else:
            error = nats.errors.Error(f"nats: {err_msg}")
            await self._error_cb(error)
            await self._process_op_err(error)

    async def _process_op_err(self, e: Exception) -> None:
        """Fail what waits for an answer: none comes once the connection is lost, and nats-py lets it wait on."""
        await super()._process_op_err(e)
        for callback in self.on_loss:
            callback()
        answers = cast("dict[str, asyncio.Future[object]]", self._resp_map).values()
        for waiting in (*answers, *cast("list[asyncio.Future[object]]", self._pongs)):
            if not waiting.done():
                waiting.set_exception(nats.errors.ConnectionReconnectingError())
                waiting.exception()  # nobody waits for the answer to a periodic PING, and asyncio would complain

    def _connect_command(self) -> bytes:
        """Say nothing in clear, and turn a credential that cannot be had into what the reconnect loop survives."""
        if "tls" in self.options and not self._socket.encrypted:
            raise nats.errors.Error("nats: the server offers no TLS, and a login is a secret")
        try:
            return super()._connect_command()
        except FleetError as error:
            raise nats.errors.Error(f"nothing to log in with: {error.what}") from error


async def listen(client: Client, subject: str, taker: MessageHandler) -> None:
    """Hand every message on `subject` to `taker`, in the loop that reads the connection; it survives reconnects.

    There is no queue in between, so nothing is dropped and nothing piles up: `taker` decides what to keep.

    Raises:
        nats.errors.Error, TimeoutError: the server did not answer.
    """

    async def ignored(_: Msg) -> None:
        """What comes before the taker is there."""

    subscription = await client.subscribe(subject, cb=ignored)
    cast("_Client", client).handlers[subscription._id] = taker  # pyright: ignore[reportPrivateUsage]
    await client.flush()


def on_loss(client: Client, callback: Callable[[], None]) -> None:
    """From now on, call `told` whenever the connection is lost: pending requests will get no answer."""
    cast("_Client", client).on_loss.append(callback)


class _Callbacks:
    """The notices of a connection, as sentences; a repeated sentence is reported once."""

    def __init__(self, notice: Notice, closed: Notice | None) -> None:
        self._notice = notice
        self._closed = closed
        self._last = ""
        self.error: Exception | None = None
        self.live = False

    def _notify(self, what: str) -> None:
        if what != self._last:
            self._last = what
            self._notice(what)

    async def failed(self, error: Exception) -> None:
        self.error = error
        self._notify(in_words(error))

    async def disconnected(self) -> None:
        if self.live:
            self._notify(DISCONNECTED)

    async def reconnected(self) -> None:
        self._notify(RECONNECTED)

    async def closed(self) -> None:
        if self.live and self._closed is not None:
            self._closed("connection closed")


async def open_client(login: Login, *, notice: Notice, attempts: int, closed: Notice | None) -> Client:
    """A client that is logged in and stays so.

    Raises:
        InvalidInput: the CA is no PEM certificate.
        NotPermitted: the server refused the login in the last of `attempts`.
        Unreachable: no server answered in the last of `attempts`.
    """
    tls = _trust(login.ca)
    tried = 0
    while True:
        tried += 1
        client, callbacks = _Client(), _Callbacks(notice, closed)
        async with contextlib.AsyncExitStack() as failed:
            failed.push_async_callback(client.close)
            with keep_cancellation():
                error = await _log_in(client, login, tls, callbacks)
            if error is None:
                failed.pop_all()
                return client
        if tried == attempts:
            raise _refusal(login, error)
        await asyncio.sleep(login.pause(tried - 1))


async def _log_in(client: Client, login: Login, tls: ssl.SSLContext | None, callbacks: _Callbacks) -> Exception | None:
    try:
        await client.connect(
            login.address,
            name=login.name,
            tls=tls,
            tls_handshake_first=login.tls_first,
            user=login.user or None,
            password=login.password or None,
            token=login.token,
            inbox_prefix=login.inbox,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=3,
            ping_interval=20,
            max_outstanding_pings=2,
            flush_timeout=_FLUSH_LIMIT,
            reconnect_to_server_handler=login.next_server,
            error_cb=callbacks.failed,
            disconnected_cb=callbacks.disconnected,
            reconnected_cb=callbacks.reconnected,
            closed_cb=callbacks.closed,
        )
    except nats.errors.NoServersError as error:
        return callbacks.error or error
    except (nats.errors.Error, OSError) as error:
        return error
    if not client.is_connected:
        # The server's own PING came before its decision; nats-py takes that for success.
        return TimeoutError("it did not decide on the login in time")
    callbacks.live = True
    client.options["allow_reconnect"] = True
    client.options["max_reconnect_attempts"] = -1
    return None


def _trust(ca: str) -> ssl.SSLContext | None:
    try:
        return client_context(ca) if ca else None
    except ssl.SSLError as error:
        raise InvalidInput(
            "the CA is no PEM certificate", next_step="give the file the server was made with"
        ) from error


def _refusal(login: Login, error: Exception) -> FleetError:
    if "authorization violation" in str(error).lower():
        return NotPermitted(
            f"NATS at {login.url} refused the login of {login.name!r}",
            next_step="see the callout's log for the reason; was the device enrolled, and not revoked?",
        )
    return Unreachable(
        f"no NATS server at {login.url}: {in_words(error)}", next_step="is it running there? check address and CA"
    )
