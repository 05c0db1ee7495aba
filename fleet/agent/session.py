"""The agent's life with NATS: log in, hear what is wanted, report, renew the token; and anew whenever that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from fleet.agent.backoff import Backoff
from fleet.agent.desired import Unclear, read
from fleet.agent.hints import certificate_trouble, clock_hint, next_step
from fleet.agent.nudge import Nudge
from fleet.agent.report import Reporter
from fleet.agent.supervise import keep_going
from fleet.agent.token import TokenKeeper
from fleet.agent.wishes import Wishes
from fleet.bus import DISCONNECTED, RECONNECTED, Bus, Login, connect
from fleet.contract.buckets import DESIRED_INDEX, DESIRED_STATE
from fleet.contract.config import AgentConfig
from fleet.contract.errors import FleetError, NotPermitted
from fleet.contract.permissions import inbox_prefix

_log = structlog.stdlib.get_logger()


_LONGEST_AWAY = 4.0
"""Seconds between attempts while NATS does not answer: as long as a connection that was lost waits at most. A candidate
of an upgrade that finds NATS away must not be much later than the agent that it is to replace."""


class Ears:
    """The agent's side of what arrives: `known` are the wishes so far, `heard` takes new ones."""

    def __init__(self, known: Callable[[], Wishes], heard: Callable[[Wishes], None]) -> None:
        """Keep both."""
        self.known = known
        self.heard = heard


class Companion(Protocol):
    """What shares the session's connection."""

    async def serve(self, bus: Bus) -> None:
        """Work on a connection until cancelled, which is when it has ended."""
        ...

    def notice(self, what: str) -> None:
        """Hear `DISCONNECTED` and `RECONNECTED`."""
        ...


class _Ended(Exception):  # noqa: N818 - not an error: the connection is over, and is built anew
    pass


class Session:
    """One device's connection to the fleet, rebuilt for as long as the agent lives."""

    def __init__(
        self, config: AgentConfig, keeper: TokenKeeper, reporter: Reporter, ears: Ears, companion: Companion
    ) -> None:
        """Contact nothing yet."""
        self._config = config
        self._keeper = keeper
        self._reporter = reporter
        self._ears = ears
        self._companion = companion
        self._nudge = Nudge(config.resync_interval)
        self._closed = asyncio.Event()
        self._told = ""

    async def run(self) -> None:
        """Work until cancelled."""
        away, refused = Backoff(0.5, _LONGEST_AWAY), Backoff(0.5, 30)
        await self._keeper.obtain()
        while True:
            self._closed.clear()
            try:
                bus = await connect(self._login(), notice=self._notice, attempts=1, closed=self._end)
            except FleetError as error:
                await self._not_connected(error, refused if isinstance(error, NotPermitted) else away)
                continue
            away.reset()
            refused.reset()
            try:
                await self._serve(bus)
            finally:
                await bus.close()

    def _login(self) -> Login:
        device = self._config.device_id
        return Login(
            url=self._config.nats_url,
            name=device,
            ca=self._config.auth.ca,
            token=self._keeper.current,
            inbox=inbox_prefix(device),
        )

    async def _not_connected(self, error: FleetError, backoff: Backoff) -> None:
        if error.what != self._told:
            self._told = error.what
            _log.error("not connected", why=error.what, next=next_step(error))
        await asyncio.sleep(backoff.next())
        if isinstance(error, NotPermitted):
            await self._keeper.obtain()

    async def _serve(self, bus: Bus) -> None:
        self._welcome()
        _log.info("connected", url=self._config.nats_url)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_closed())
                for part, work in self._parts(bus).items():
                    group.create_task(keep_going(part, work))
        except* _Ended:
            _log.warning("connection ended; it is built anew")

    def _parts(self, bus: Bus) -> dict[str, Callable[[], Awaitable[None]]]:
        """What shares a connection; an error that nobody foresaw in one of them ends neither it nor the others."""
        return {
            "desired state": lambda: self._listen(bus),
            "reports": lambda: self._reporter.publish(bus),
            "heartbeat": lambda: self._reporter.beat(bus, self._config.heartbeat_interval),
            "token": lambda: self._keeper.keep(bus.reconnect),
            "upgrade's connection": lambda: self._companion.serve(bus),
        }

    def _welcome(self) -> None:
        self._told = ""
        self._keeper.trust()
        self._reporter.anew()
        self._nudge.give()

    async def _until_closed(self) -> None:
        await self._closed.wait()
        raise _Ended

    async def _listen(self, bus: Bus) -> None:
        """Read all that is wanted at every nudge, at every reconnect, and by the timer."""
        await self._follow(bus)
        async for _ in self._nudge.times():
            await self._read(bus)

    async def _follow(self, bus: Bus) -> None:
        device = self._config.device_id
        backoff = Backoff(0.5, 30)
        while True:
            try:
                await bus.hear(DESIRED_INDEX.heard(device), self._nudge.give)
                await bus.hear(DESIRED_STATE.heard(f"{device}.*"), self._nudge.give)
            except FleetError as error:
                _log.warning("changes are not heard yet", why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _read(self, bus: Bus) -> None:
        try:
            wishes = await read(bus, self._config.device_id, self._ears.known())
        except FleetError as error:
            if error.what != self._told:
                self._told = error.what
                log = _log.info if isinstance(error, Unclear) else _log.warning
                log("desired state not read; nothing changes", why=error.what)
        else:
            self._told = ""
            self._ears.heard(wishes)

    def _notice(self, what: str) -> None:
        self._companion.notice(what)
        if what == RECONNECTED:
            _log.info("reconnected")
            self._welcome()
        elif what == DISCONNECTED:
            _log.warning("disconnected; workloads go on")
        elif certificate_trouble(what):
            _log.error("NATS", why=what, next=clock_hint())
        else:
            _log.warning("NATS", why=what)
            if "authorization" in what.lower() or "authentication" in what.lower():
                self._keeper.doubt()

    def _end(self, _what: str) -> None:
        self._closed.set()
