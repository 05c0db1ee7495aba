"""A load client for NATS log-ins: raw asyncio, so that the client costs less than what it measures.

One connection is one `Session`: INFO, TLS, CONNECT and PING, and the log-in is done with the PONG. The credential
line is rendered beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

LOGIN_DEADLINE = 20.0
"""Seconds after which an attempt counts as failed, whatever the server does."""


@dataclass
class Tally:
    """Attempts that were made: seconds each success took, and how often each failure happened."""

    seconds: list[float] = field(default_factory=list[float])
    failures: Counter[str] = field(default_factory=Counter[str])
    elapsed: float = 0

    @property
    def failed(self) -> int:
        """How many attempts failed."""
        return self.failures.total()

    def __str__(self) -> str:
        return ", ".join(f"{count} x {why}" for why, count in self.failures.most_common()) or "none"


class LoginFailed(Exception):  # noqa: N818
    """An attempt that did not end with a PONG; the message is what the server said, or what happened instead."""


class Session(asyncio.Protocol):
    """One connection to a NATS server."""

    def __init__(self) -> None:
        """Nothing is said before `log_in`."""
        loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._greeted: asyncio.Future[None] = loop.create_future()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._ready.add_done_callback(_noted)  # it may end while nobody waits for it yet
        self.lost: asyncio.Future[float] = loop.create_future()
        """Set to the monotonic time at which the connection ended."""

    async def shake_hands(self, tls: ssl.SSLContext) -> None:
        """Wait for the greeting, then make the connection TLS.

        Raises:
            LoginFailed: dropped.
        """
        await self._greeted
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._transport = await loop.start_tls(self._transport, self, tls, ssl_handshake_timeout=LOGIN_DEADLINE)
        if self._transport is None:
            raise LoginFailed("closed during the TLS handshake")
        if isinstance(tls, CheapTls) and tls.session is None:
            tls.session = self._transport.get_extra_info("ssl_object").session

    async def log_in(self, credentials: bytes) -> None:
        """Send `credentials` (see `with_token`), and wait for the answer.

        Raises:
            LoginFailed: refused or dropped.
        """
        assert self._transport is not None
        self._transport.write(credentials)
        await self._ready

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the server speaks first."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take in whole lines."""
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            self._take(line)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that it ended."""
        self._end(LoginFailed(str(exc) if exc else "closed by the server"))
        if not self.lost.done():
            self.lost.set_result(time.monotonic())

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, line: bytes) -> None:
        if line.startswith(b"INFO"):
            _done(self._greeted)
        elif line == b"PING":
            assert self._transport is not None
            self._transport.write(b"PONG\r\n")
        elif line == b"PONG":
            _done(self._ready)
        elif line.startswith(b"-ERR"):
            self._end(LoginFailed(line[4:].decode(errors="replace").strip(" '")))

    def _end(self, error: LoginFailed) -> None:
        waited = self._ready if self._greeted.done() else self._greeted
        if not waited.done():
            waited.set_exception(error)


def _noted(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class LoadTarget:
    """Where and how to connect; for one event loop.

    Only so many TLS handshakes are under way at a time: devices have a processor each, and this client has one for all
    of them, so without a limit the server would give up on handshakes that merely wait for us.
    """

    def __init__(self, port: int, tls: ssl.SSLContext, host: str = "127.0.0.1") -> None:
        """Connect to nothing yet."""
        self._address = (host, port)
        self._tls = tls
        self._handshakes = asyncio.Semaphore(32)

    async def open(self) -> Session:
        """A TLS connection that has not logged in yet.

        Raises:
            LoginFailed: dropped, or not done within `LOGIN_DEADLINE`.
        """
        session = Session()
        async with self._handshakes:
            with _or_failed(session):
                async with asyncio.timeout(LOGIN_DEADLINE):
                    await asyncio.get_running_loop().create_connection(lambda: session, *self._address)
                    await session.shake_hands(self._tls)
        return session

    async def log_in(self, session: Session, credentials: bytes) -> None:
        """Log in over a connection.

        Raises:
            LoginFailed: refused, dropped, or not decided within `LOGIN_DEADLINE`; the connection is dropped then.
        """
        with _or_failed(session):
            async with asyncio.timeout(LOGIN_DEADLINE):
                await session.log_in(credentials)

    async def enter(self, credentials: bytes) -> Session:
        """Connect and log in; as `open` and `log_in` for errors."""
        session = await self.open()
        await self.log_in(session, credentials)
        return session


@contextlib.contextmanager
def _or_failed(session: Session) -> Generator[None]:
    try:
        yield
    except (LoginFailed, TimeoutError, OSError) as error:
        session.abort()
        if isinstance(error, LoginFailed):
            raise
        if isinstance(error, TimeoutError):
            raise LoginFailed(f"not decided within {LOGIN_DEADLINE:g} s") from error
        raise LoginFailed(error.strerror or str(error) or type(error).__name__) from error


class CheapTls(ssl.SSLContext):
    """TLS as a client that costs the least: the certificate is not checked, and every handshake resumes the first.

    A resumed TLS 1.2 handshake has no public-key operation on either side (RFC 5077), so that what is measured is the
    log-in and not the handshake.
    """

    session: ssl.SSLSession | None = None

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401 - as the base class has it
        """Offer the first session, and keep it."""
        return super().wrap_bio(*args, **{**options, "session": self.session})


def cheap_tls() -> CheapTls:
    """A context for `LoadTarget`."""
    context = CheapTls(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def unverified_tls() -> ssl.SSLContext:
    """Full handshakes, as devices make them; whether the certificate is right is not what is measured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def with_token(token: str, name: str) -> bytes:
    """The lines that log in with a token."""
    return _connect({"auth_token": token, "name": name})


def with_password(user: str, password: str) -> bytes:
    """The lines that log in with a static user's password."""
    return _connect({"user": user, "pass": password, "name": user})


def _connect(who: dict[str, str]) -> bytes:
    options = {"verbose": False, "pedantic": False, "lang": "benchmark", "version": "1", "protocol": 1, **who}
    return b"CONNECT " + msgspec.json.encode(options) + b"\r\nPING\r\n"


async def log_in_all(target: LoadTarget, credentials: Sequence[bytes], at_once: int) -> Tally:
    """Log in with each credential once, `at_once` at a time: open, log in, close, and go on with the next.

    The seconds of a log-in are those from CONNECT to PONG, without the TLS handshake before.
    """
    tally, waiting = Tally(), iter(credentials)

    async def device() -> None:
        for line in waiting:
            try:
                session = await target.open()
                started = time.monotonic()
                await target.log_in(session, line)
            except LoginFailed as error:
                tally.failures[str(error)] += 1
            else:
                tally.seconds.append(time.monotonic() - started)
                session.abort()

    started = time.monotonic()
    await asyncio.gather(*(device() for _ in range(at_once)))
    tally.elapsed = time.monotonic() - started
    return tally


def raise_file_limit(needed: int) -> None:
    """Allow this process, and its children, `needed` open files.

    Raises:
        SystemExit: the machine's hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
        return
    if hard < needed:
        raise SystemExit(f"needs {needed} open files, but the hard limit is {hard}; raise it (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
