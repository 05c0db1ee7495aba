"""The agent's session with NATS: log in, receive the desired state, report, renew the token; restart at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from fleet.agent.advice import certificate_trouble, clock_hint, next_step
from fleet.agent.desired_reader import Unclear, read
from fleet.agent.desired_state import DesiredState
from fleet.agent.logs.server import LogServer
from fleet.agent.machine_key import MachineKeyRotation
from fleet.agent.openings import Heard, Openings
from fleet.agent.read_trigger import ReadTrigger
from fleet.agent.release_keys import ReleaseKeyRotation
from fleet.agent.report import Reporter
from fleet.agent.sealing import Sealing
from fleet.agent.supervise import keep_going
from fleet.agent.token import TokenSource
from fleet.agent.trust import TrustBundleRotation
from fleet.contract.buckets import DESIRED_INDEX, DESIRED_STATE
from fleet.contract.config import AgentConfig
from fleet.contract.errors import FleetError, NotPermitted
from fleet.contract.permissions import inbox_prefix
from fleet.nats.bus import DISCONNECTED, RECONNECTED, Bus, Login, connect
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()


_LONGEST_AWAY = 4.0
"""Seconds between attempts while NATS does not answer: as long as a connection that was lost waits at most. A candidate
of an upgrade that finds NATS away must not be much later than the agent that it is to replace."""


class DesiredCallbacks:
    """Input of the session: `known` is the present desired state, `openings` hand over a new one."""

    def __init__(self, known: Callable[[], DesiredState], heard: Heard, sealing: Sealing) -> None:
        self.known = known
        self.openings = Openings(sealing, known, heard)


class ConnectionTask(Protocol):
    """What shares the session's connection."""

    async def serve(self, bus: Bus) -> None:
        """Work on a connection until cancelled, which is when it has ended."""
        ...

    def notice(self, what: str) -> None:
        """Handle `DISCONNECTED` and `RECONNECTED`."""
        ...


class ConnectionTasks:
    """Everything that shares the session's connection: upgrades, readers of logs, a new machine key or release key."""

    def __init__(
        self, upgrade: ConnectionTask, logs: LogServer, keys: MachineKeyRotation, release_keys: ReleaseKeyRotation
    ) -> None:
        self.upgrade = upgrade
        self.logs = logs
        self.keys = keys
        self.release_keys = release_keys


class _Ended(Exception):  # noqa: N818 - not an error: the connection is over, and is built anew
    pass


class Session:
    """One device's connection to the fleet, rebuilt for as long as the agent lives."""

    def __init__(
        self,
        config: AgentConfig,
        tokens: TokenSource,
        trust: TrustBundleRotation,
        reporter: Reporter,
        callbacks: DesiredCallbacks,
        tasks: ConnectionTasks,
    ) -> None:
        self._config = config
        self._tokens = tokens
        self._trust = trust
        self._reporter = reporter
        self._callbacks = callbacks
        self._tasks = tasks
        self._trigger = ReadTrigger(config.resync_interval)
        self._closed = asyncio.Event()
        self._last_error = ""

    async def run(self) -> None:
        """Work until cancelled."""
        away, refused = Backoff(0.5, _LONGEST_AWAY), Backoff(0.5, 30)
        await self._tokens.obtain()
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
            ca=self._trust.ca,
            token=self._tokens.current,
            inbox=inbox_prefix(device),
        )

    async def _not_connected(self, error: FleetError, backoff: Backoff) -> None:
        if error.what != self._last_error:
            self._last_error = error.what
            clock = {"clock": self._tokens.clock()} if isinstance(error, NotPermitted) else {}
            _log.error("not connected", why=error.what, next=next_step(error), **clock)
        await asyncio.sleep(backoff.next())
        if isinstance(error, NotPermitted):
            await self._tokens.obtain()

    async def _serve(self, bus: Bus) -> None:
        self._begin()
        _log.info("connected", url=self._config.nats_url)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_closed())
                for part, work in self._parts(bus).items():
                    group.create_task(keep_going(part, work))
        except* _Ended:
            _log.warning("connection ended; it is built anew")

    def _parts(self, bus: Bus) -> dict[str, Callable[[], Awaitable[None]]]:
        """The tasks that share a connection; an unexpected error in one of them ends neither it nor the others."""
        return {
            "sealed secrets": self._callbacks.openings.run,
            "desired state": lambda: self._listen(bus),
            "reports": lambda: self._reporter.publish(bus),
            "heartbeat": lambda: self._reporter.beat(bus, self._config.heartbeat_interval),
            "token": lambda: self._tokens.keep_renewing(bus.reconnect),
            "trust": lambda: self._trust.serve(bus),
            "upgrade's connection": lambda: self._tasks.upgrade.serve(bus),
            "logs": lambda: self._tasks.logs.serve(bus),
            "machine key": lambda: self._tasks.keys.serve(bus),
            "release keys": lambda: self._tasks.release_keys.serve(bus),
        }

    def _begin(self) -> None:
        self._last_error = ""
        self._tokens.accepted()
        self._reporter.session_key = self._tokens.shown_key
        self._reporter.anew()
        self._trigger.fire()
        self._trust.missed()
        self._tasks.keys.missed()
        self._tasks.release_keys.missed()

    async def _until_closed(self) -> None:
        await self._closed.wait()
        raise _Ended

    async def _listen(self, bus: Bus) -> None:
        """Read all that is wanted at every trigger, at every reconnect, and by the timer."""
        await self._subscribe(bus)
        async for _ in self._trigger.times():
            await self._read(bus)

    async def _subscribe(self, bus: Bus) -> None:
        device = self._config.device_id
        backoff = Backoff(0.5, 30)
        while True:
            try:
                await bus.subscribe(DESIRED_INDEX.notify_subject(device), self._trigger.fire)
                await bus.subscribe(DESIRED_STATE.notify_subject(f"{device}.*"), self._trigger.fire)
            except FleetError as error:
                _log.warning("changes are not heard yet", why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _read(self, bus: Bus) -> None:
        try:
            orders = await read(bus, self._config.device_id, self._callbacks.known())
        except FleetError as error:
            self._trigger.failed()
            if error.what != self._last_error:
                self._last_error = error.what
                log = _log.info if isinstance(error, Unclear) else _log.warning
                log("desired state not read; nothing changes", why=error.what)
        else:
            self._last_error = ""
            await self._callbacks.openings.take(orders)

    def _notice(self, what: str) -> None:
        self._tasks.upgrade.notice(what)
        self._reporter.notice(what)
        if what == RECONNECTED:
            _log.info("reconnected")
            self._begin()
        elif what == DISCONNECTED:
            _log.warning("disconnected; workloads go on")
        elif certificate_trouble(what):
            _log.error("NATS", why=what, next=clock_hint())
        else:
            _log.warning("NATS", why=what)
            if "authorization" in what.lower() or "authentication" in what.lower():
                self._tokens.refused()

    def _end(self, _what: str) -> None:
        self._closed.set()
