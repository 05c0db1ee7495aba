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
from collections.abc import Iterable
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

    async def log_in(self, tls: ssl.SSLContext, credentials: bytes) -> None:
        """Wait for the greeting, shake hands, and send `credentials` (see `with_token`).

        Raises:
            LoginFailed: refused or dropped.
        """
        await self._greeted
        assert self._transport is not None
        await self._shake_hands(self._transport, tls)
        self._transport.write(credentials)
        await self._ready

    async def _shake_hands(self, clear: asyncio.Transport, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        self._transport = await loop.start_tls(clear, self, tls, ssl_handshake_timeout=LOGIN_DEADLINE)
        if self._transport is None:
            raise LoginFailed("closed during the TLS handshake")
        if isinstance(tls, CheapTls) and tls.session is None:
            tls.session = self._transport.get_extra_info("ssl_object").session

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


@dataclass(frozen=True)
class Door:
    """Where and how to connect."""

    port: int
    tls: ssl.SSLContext
    host: str = "127.0.0.1"

    async def enter(self, credentials: bytes) -> Session:
        """Connect and log in.

        Raises:
            LoginFailed: refused, dropped, or not decided within `LOGIN_DEADLINE`.
        """
        session = Session()
        try:
            async with asyncio.timeout(LOGIN_DEADLINE):
                await asyncio.get_running_loop().create_connection(lambda: session, self.host, self.port)
                await session.log_in(self.tls, credentials)
        except TimeoutError as error:
            session.abort()
            raise LoginFailed(f"not decided within {LOGIN_DEADLINE:g} s") from error
        except LoginFailed:
            session.abort()
            raise
        except OSError as error:
            session.abort()
            raise LoginFailed(error.strerror or str(error) or type(error).__name__) from error
        return session


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
    """A context for `Door`."""
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


async def log_in_all(door: Door, credentials: Iterable[bytes], at_once: int) -> Tally:
    """Log in with each credential once, `at_once` at a time; each connection is closed once it is in."""
    tally, waiting = Tally(), iter(credentials)

    async def worker() -> None:
        for line in waiting:
            started = time.monotonic()
            try:
                session = await door.enter(line)
            except LoginFailed as error:
                tally.failures[str(error)] += 1
            else:
                tally.seconds.append(time.monotonic() - started)
                session.abort()

    started = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(at_once)))
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
