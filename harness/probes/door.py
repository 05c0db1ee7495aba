"""Knocking at NATS as a device does: with a token; what is let in, and what it may touch then."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import msgspec
import nats.errors
from nats.aio.client import Client

from harness.errors import Unanswered

_DEADLINE = 10.0


class Visit(msgspec.Struct, frozen=True):
    """What came of a log-in: let in or not, and which of the subjects that were tried are forbidden to it."""

    let_in: bool
    no_publish: tuple[str, ...] = ()
    no_subscribe: tuple[str, ...] = ()


def knock(url: str, ca: str, token: str, *, publish: Sequence[str] = (), subscribe: Sequence[str] = ()) -> Visit:
    """Log in once with a token, and try subjects: an empty message to each of `publish`, a look at each of `subscribe`.

    Raises:
        Unanswered: NATS did not answer.
    """
    try:
        return asyncio.run(asyncio.wait_for(_visit(url, ca, token, publish, subscribe), _DEADLINE))
    except (OSError, TimeoutError, nats.errors.NoServersError) as error:
        raise Unanswered(f"NATS at {url} does not answer: {error}", next_step="see the log of nats") from error


async def _visit(url: str, ca: str, token: str, publish: Sequence[str], subscribe: Sequence[str]) -> Visit:
    said: list[str] = []

    async def heard(error: Exception) -> None:
        said.append(str(error).lower())

    client = Client()
    try:
        await client.connect(
            url,
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
        if "authorization violation" in f"{error} {said}".lower():
            return Visit(let_in=False)
        raise Unanswered(f"NATS at {url}: {error or said}", next_step="see the log of nats") from error
    finally:
        await client.close()
    return Visit(True, _refused("publish to", publish, said), _refused("subscription to", subscribe, said))


async def _decided(client: Client) -> None:
    """Until the server has answered everything sent so far.

    Twice, for a slow log-in leaves an answer over: nats-py takes the server's own ping for the end of it, and the
    answer that comes late for that of the next question (NATS reference, trap 2).
    """
    await client.flush()
    await client.flush()


def _refused(act: str, subjects: Sequence[str], said: Sequence[str]) -> tuple[str, ...]:
    """nats-server says `Permissions Violation for Publish to "subject"`; the client makes it lower case."""
    return tuple(subject for subject in subjects if any(f'{act} "{subject}"'.lower() in line for line in said))
