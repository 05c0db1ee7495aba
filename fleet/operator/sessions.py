"""The sessions of devices in NATS: list them, end them, hear of new ones. In the system account.

The messages are those of the NATS reference, "Kicking a client". One of two modules of ours, besides the bus, that
speak to NATS in raw messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from fleet.bus import Bus
from fleet.contract.buckets import APP_ACCOUNT
from fleet.contract.errors import Unreachable

log = structlog.get_logger()

_FIRST_ANSWER = 2.0
_MORE_ANSWERS = 0.1
"""Seconds to wait for the first server of a cluster, and for each one after it: nobody says how many there are."""
_SETTLED = 0.25
"""Seconds in which every callout replica has heard of a denial; a session begun before may be an oversight."""
_OPEN = 0
"""The numeric state of connections that are open, in a CONNZ request."""


class Session(msgspec.Struct, frozen=True):
    """One connection of one NATS server."""

    server: str
    cid: int


class _Server(msgspec.Struct):
    id: str


class _Connection(msgspec.Struct):
    cid: int


class _Connections(msgspec.Struct, frozen=True):
    connections: tuple[_Connection, ...] = ()


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

    def __init__(self, system: Bus, kicked: Callable[[], None]) -> None:
        """`system` is logged in to the system account; `kicked` is called for each session that is ended."""
        self._system = system
        self._kicked = kicked

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

    async def guard(self, barred: Callable[[str], bool], begun: Callable[[str], None]) -> None:
        """From now on, end every session that begins for a user that is `barred`, and call `begun` with its name.

        A callout that has not yet heard of a revocation lets a device in; here it is seen at once. Nobody confirms
        that a session ended, so `begun` is to see to it that they are looked for again.
        """

        async def began(message: Msg) -> None:
            try:
                event = msgspec.json.decode(message.data, type=_Connected)
            except msgspec.DecodeError as error:
                log.warning("not understood", subject=message.subject, why=str(error))
                return
            if event.client.user and barred(event.client.user):
                log.info("a barred session began", device=event.client.user)
                await self._end(Session(event.server.id, event.client.id))
                begun(event.client.user)

        try:
            await self._system.client.subscribe(f"$SYS.ACCOUNT.{APP_ACCOUNT}.CONNECT", cb=began)
        except nats.errors.Error as error:
            raise _lost(error) from error

    async def _end_all(self, device: str) -> int:
        sessions = await self._open(device)
        for session in sessions:
            await self._end(session)
        if sessions:
            log.info("sessions ended", device=device, sessions=len(sessions))
        return len(sessions)

    async def _open(self, device: str) -> list[Session]:
        """The device's open sessions on every server."""
        client = self._system.client
        question = {"acc": APP_ACCOUNT, "user": device, "auth": True, "state": _OPEN}
        try:
            answers = await client.subscribe(client.new_inbox())
            try:
                await client.publish("$SYS.REQ.SERVER.PING.CONNZ", msgspec.json.encode(question), reply=answers.subject)
                found = [await answers.next_msg(timeout=_FIRST_ANSWER)]
                while message := await _another(answers.next_msg(timeout=_MORE_ANSWERS)):
                    found.append(message)
            finally:
                await answers.unsubscribe()
        except nats.errors.Error as error:
            raise _lost(error) from error
        replies = [msgspec.json.decode(message.data, type=_Connz) for message in found]
        return [Session(reply.server.id, one.cid) for reply in replies for one in reply.data.connections]

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


async def _another(message: Coroutine[object, object, Msg]) -> Msg | None:
    try:
        return await message
    except nats.errors.TimeoutError:
        return None


def _lost(error: Exception) -> Unreachable:
    return Unreachable(f"NATS does not list sessions ({type(error).__name__})", next_step="is the server up?")
