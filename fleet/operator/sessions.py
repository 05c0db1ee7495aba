"""The sessions of devices in NATS: list them, end them, receive new ones. In the system account.

The messages are those of the NATS reference, "Kicking a client". One of two modules of ours, besides the bus, that
speak to NATS in raw messages.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from fleet.contract.buckets import APP_ACCOUNT
from fleet.contract.errors import Unreachable, why
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.nats.bus import Bus
from fleet.operator.activity import Activity
from fleet.operator.meter import Flood
from fleet.operator.session_limit import Session, SessionLimit, SessionPace
from fleet.operator.traffic import Sent, Traffic
from fleet.process.failures import in_words
from fleet.process.log_budget import Sampler

log = structlog.get_logger()

_FIRST_ANSWER = 2.0
_MORE_ANSWERS = 0.1
"""Seconds to wait for the first server of a cluster, and for each further one: their number is unknown."""
_SETTLED = 0.25
"""Seconds within which every callout replica knows a denial; a session that began earlier may be a late login."""
_OPEN = 0
"""The numeric state of connections that are open, in a CONNZ request."""
_PAGE = 256
"""Connections of one listing. A client can make its entry up to 16 KB long."""
_LOOK = 1.0
_SHARE = 9.0
"""Seconds between two looks at everybody's sessions, and how much longer than a look the pause is at least."""


class _Server(msgspec.Struct):
    id: str


class _Connection(msgspec.Struct):
    cid: int
    authorized_user: str = ""
    in_msgs: int = 0
    in_bytes: int = 0
    out_msgs: int = 0
    out_bytes: int = 0
    last_activity: datetime | None = None


class _Connections(msgspec.Struct, frozen=True):
    connections: tuple[_Connection, ...] = ()
    now: datetime | None = None

    def sent(self, server: str) -> list[Sent]:
        return [
            Sent(
                connection.authorized_user,
                Session(server, connection.cid),
                connection.in_msgs,
                connection.in_bytes,
                connection.out_bytes,
                connection.in_msgs + connection.out_msgs,
                _seconds(connection.last_activity, self.now),
            )
            for connection in self.connections
        ]


class _Connz(msgspec.Struct):
    server: _Server
    data: _Connections = _Connections()


class _Client(msgspec.Struct):
    id: int
    user: str = ""


class _Connected(msgspec.Struct):
    server: _Server
    client: _Client


class Sessions:
    """Everybody's sessions in the devices' account."""

    def __init__(self, system: Bus, kicked: Callable[[], None], flooded: Callable[[Flood], None]) -> None:
        """`system` is logged in to the system account.

        `kicked` is called for each session that is ended, `flooded` for each device that sends too much.
        """
        self._system = system
        self._kicked = kicked
        self._flooded = flooded
        self._limit = SessionLimit()
        self._pace = SessionPace()
        self._traffic = Traffic()
        self._activity = Activity()
        self._sampler = Sampler()

    async def drop(self, device: str, *, banned: bool) -> None:
        """End a device's sessions; the registry must deny them already. A banned device has none left at the end.

        Raises:
            Unreachable: NATS did not answer.
        """
        await self._end_all(device)
        again = True
        while again:
            await asyncio.sleep(_SETTLED)
            again = bool(await self._end_all(device)) and banned

    def owner(self, session: Session) -> str:
        """The device whose session it is; empty where that is not known."""
        return self._limit.owner(session)

    async def cut(self, device: str) -> None:
        """End a device's sessions that began within our hearing, without asking NATS for others.

        Raises:
            Unreachable: the connection is gone.
        """
        for session in self._limit.held(device):
            await self._end(session)

    async def guard(self, barred: Callable[[str], bool], begun: Callable[[str], None]) -> None:
        """From now on, end every session that begins for a user that is `barred`, and call `begun` with its name.

        A callout that has not yet heard of a revocation lets a device in; here it is seen at once. Nobody confirms
        that a session ended, so `begun` is to see to it that they are looked for again. Of a device that holds too
        many sessions the oldest are ended, and one that begins them too often floods.

        Raises:
            Unreachable: NATS did not answer.
        """

        async def began(message: Msg) -> None:
            if (event := _event(message)) is None:
                return
            device, session = event
            if barred(device):
                self._log("a barred session began", device)
                await self._end(session)
                begun(device)
                return
            if flood := self._pace.begun(device, time.monotonic()):
                self._flooded(flood)
            await self._end_surplus(self._limit.begun(device, session), device)

        async def ended(message: Msg) -> None:
            if (event := _event(message)) is not None:
                self._limit.ended(*event)

        try:
            await self._system.client.subscribe(f"$SYS.ACCOUNT.{APP_ACCOUNT}.CONNECT", cb=began)
            await self._system.client.subscribe(f"$SYS.ACCOUNT.{APP_ACCOUNT}.DISCONNECT", cb=ended)
        except nats.errors.Error as error:
            raise _lost(error) from error

    async def keep_looking(self) -> None:
        """Look at everybody's sessions again and again, for ever.

        Some began while nobody heard of it, and what is not written to a bucket is counted by NATS alone.
        """
        last_error = ""
        while True:
            started = time.monotonic()
            try:
                before = self._limit.count()
                connections = await self._listed({})
                now = time.monotonic()
                for flood in (*self._traffic.seen(connections, now), *self._activity.seen(connections, now)):
                    self._flooded(flood)
                await self._end_surplus(
                    self._limit.recounted(
                        before, [(connection.device, connection.session) for connection in connections]
                    ),
                    "several",
                )
                last_error = ""
            except Exception as error:
                if why(error) != last_error:
                    log.warning("sessions not looked at", why=why(error))
                last_error = why(error)
            pause = max(_LOOK, _SHARE * (time.monotonic() - started))
            await asyncio.sleep(random.uniform(pause, 1.5 * pause))  # noqa: S311 - see Activity

    async def _end_surplus(self, surplus: Sequence[Session], device: str) -> None:
        for session in surplus:
            await self._end(session)
        if surplus:
            self._log("one device has too many sessions", device, ended=len(surplus))

    def _log(self, what: str, device: str, **facts: object) -> None:
        """Log it, unless the device made it happen very often: it can begin as many sessions as it likes."""
        untold = self._sampler.take((what, device), time.monotonic())
        if untold is not None:
            log.info(what, device=device, **facts, **({"untold": untold} if untold else {}))

    async def _end_all(self, device: str) -> int:
        sessions = await self._open(device)
        for session in sessions:
            await self._end(session)
        if sessions:
            self._log("sessions ended", device, sessions=len(sessions))
        return len(sessions)

    async def _open(self, device: str) -> list[Session]:
        """The device's open sessions on every server."""
        return [connection.session for connection in await self._listed({"user": device})]

    async def _listed(self, which: Mapping[str, object]) -> list[Sent]:
        """Open sessions of devices on every server; page by page."""
        connections: list[Sent] = []
        offset, full = 0, True
        while full:
            page = {"acc": APP_ACCOUNT, "auth": True, "state": _OPEN, "limit": _PAGE, "offset": offset, **which}
            replies = await self._asked(page)
            connections += [connection for reply in replies for connection in reply.data.sent(reply.server.id)]
            full = any(len(reply.data.connections) >= _PAGE for reply in replies)
            offset += _PAGE
        return connections

    async def _asked(self, question: Mapping[str, object]) -> list[_Connz]:
        client = self._system.client
        try:
            answers = await client.subscribe(client.new_inbox())
            try:
                await client.publish("$SYS.REQ.SERVER.PING.CONNZ", msgspec.json.encode(question), reply=answers.subject)
                messages = [await answers.next_msg(timeout=_FIRST_ANSWER)]
                while message := await _another(answers.next_msg(timeout=_MORE_ANSWERS)):
                    messages.append(message)
            finally:
                await answers.unsubscribe()
        except nats.errors.Error as error:
            raise _lost(error) from error
        return [msgspec.json.decode(message.data, type=_Connz) for message in messages]

    async def _end(self, session: Session) -> None:
        # The server ignores a kick that names nobody to answer. The answer is not read: whether the session is gone
        # shows when the sessions are listed again.
        client = self._system.client
        try:
            await client.publish(
                f"$SYS.REQ.SERVER.{session.server}.KICK",
                msgspec.json.encode({"cid": session.cid}),
                reply=client.new_inbox(),
            )
        except nats.errors.Error as error:
            raise _lost(error) from error
        self._kicked()


def _event(message: Msg) -> tuple[str, Session] | None:
    """The device whose session began or ended, and the session; None for a session of no device."""
    try:
        event = msgspec.json.decode(message.data, type=_Connected)
    except NOT_JSON as error:
        log.warning("not understood", subject=message.subject, why=validation_words(error))
        return None
    return (event.client.user, Session(event.server.id, event.client.id)) if event.client.user else None


def _seconds(since: datetime | None, now: datetime | None) -> float:
    return math.inf if since is None or now is None else (now - since).total_seconds()


async def _another(message: Coroutine[object, object, Msg]) -> Msg | None:
    try:
        return await message
    except nats.errors.TimeoutError:
        return None


def _lost(error: Exception) -> Unreachable:
    return Unreachable(f"NATS does not list sessions: {in_words(error)}", next_step="is the server up?")
