"""Knocking at NATS as a device does: with a token; what is let in, and what it may touch then."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence

import msgspec
import nats.errors
from nats.aio.client import Client

from harness.errors import Unanswered
from harness.probes.nats import close_client

_DEADLINE = 10.0


class LoginOutcome(msgspec.Struct, frozen=True):
    """What came of a log-in: let in or not, and which of the subjects that were tried are forbidden to it."""

    let_in: bool
    no_publish: tuple[str, ...] = ()
    no_subscribe: tuple[str, ...] = ()


def try_login(
    url: str, ca: str, token: str, *, publish: Sequence[str] = (), subscribe: Sequence[str] = ()
) -> LoginOutcome:
    """Log in once with a token, and try subjects: an empty message to each of `publish`, a look at each of `subscribe`.

    Raises:
        Unanswered: NATS did not answer.
    """
    try:
        return asyncio.run(asyncio.wait_for(_try(url, ca, token, publish, subscribe), _DEADLINE))
    except (OSError, TimeoutError, nats.errors.NoServersError) as error:
        raise Unanswered(f"NATS at {url} does not answer: {error}", next_step="see the log of nats") from error


def expelled(url: str, ca: str, token: str, *, within: float) -> bool:
    """Log in once with a token, and stay: whether NATS has ended the session after `within` seconds.

    Raises:
        Unanswered: NATS did not let us in.
    """
    return asyncio.run(_stay(url, ca, token, within))


async def _stay(url: str, ca: str, token: str, within: float) -> bool:
    ended = asyncio.Event()

    async def gone() -> None:
        ended.set()

    async def heard(_error: Exception) -> None:
        """It says why it ends the session; that it does is what counts."""

    client = Client()
    trust = ssl.create_default_context(cadata=ca)
    async with contextlib.AsyncExitStack() as session:
        session.push_async_callback(close_client, client)
        try:
            await client.connect(
                url, token=token, tls=trust, allow_reconnect=False, connect_timeout=5, error_cb=heard, closed_cb=gone
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Unanswered(f"NATS at {url}: {error}", next_step="see the log of nats") from error
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), within)
        return ended.is_set()


async def _try(url: str, ca: str, token: str, publish: Sequence[str], subscribe: Sequence[str]) -> LoginOutcome:
    messages: list[str] = []

    async def heard(error: Exception) -> None:
        messages.append(str(error).lower())

    client = Client()
    try:
        await client.connect(
            url.replace("tls+first://", "tls://", 1),
            tls_handshake_first=url.startswith("tls+first://"),
            name="harness",
            token=token,
            tls=ssl.create_default_context(cadata=ca),
            allow_reconnect=False,
            connect_timeout=5,
            error_cb=heard,
        )
        await _decided(client)
        for subject in publish:
            await client.publish(subject)
        for subject in subscribe:
            await client.subscribe(subject)
        await _decided(client)
    except nats.errors.Error as error:
        if "authorization violation" in f"{error} {messages}".lower():
            return LoginOutcome(let_in=False)
        raise Unanswered(f"NATS at {url}: {error or messages}", next_step="see the log of nats") from error
    finally:
        await close_client(client)
    return LoginOutcome(
        True, _refused("publish to", publish, messages), _refused("subscription to", subscribe, messages)
    )


async def _decided(client: Client) -> None:
    """Until the server has answered everything sent so far.

    Twice, for a slow log-in leaves an answer over: nats-py takes the server's own ping for the end of it, and the
    answer that comes late for that of the next question (NATS reference, trap 2).
    """
    await client.flush()
    await client.flush()


def _refused(act: str, subjects: Sequence[str], messages: Sequence[str]) -> tuple[str, ...]:
    """nats-server says `Permissions Violation for Publish to "subject"`; the client makes it lower case."""
    return tuple(subject for subject in subjects if any(f'{act} "{subject}"'.lower() in line for line in messages))
