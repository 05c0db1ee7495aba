"""The whole agent: wires the parts of one device together, and keeps what must survive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fleet.agent.backoff import Backoff
from fleet.agent.engine import Engine, EngineDown, EngineRefused
from fleet.agent.grant import Token
from fleet.agent.info import device_info
from fleet.agent.manager import Manager
from fleet.agent.observe import Observer
from fleet.agent.place import Place
from fleet.agent.report import Reporter
from fleet.agent.session import Ears, Session
from fleet.agent.state import Saved, Store
from fleet.agent.token import TokenKeeper
from fleet.agent.wishes import Wishes
from fleet.agent.workloads import Workloads
from fleet.contract.config import AgentConfig
from fleet.version import VERSION

_log = structlog.stdlib.get_logger()


class Agent:
    """One device's agent. `ask` gets a token from the issuer."""

    def __init__(self, config: AgentConfig, place: Place, ask: Callable[[], Awaitable[Token]]) -> None:
        """Read and contact nothing yet."""
        self._config = config
        self._store = Store(place.state)
        self._engine = Engine(place.engine(config.engine_socket))
        self._reporter = Reporter(config.device_id, device_info(place.root), self._gone)
        observer = Observer(self._engine, config.device_id)
        workloads = Workloads(self._engine, config.device_id)
        self._manager = Manager(observer, workloads, self._reporter.states, resync=config.resync_interval)
        ears = Ears(lambda: self._wishes or {}, self._want)
        self._session = Session(config, TokenKeeper(ask), self._reporter, ears)
        self._wishes: Wishes | None = None
        self._leaving: set[str] = set()

    async def run(self) -> None:
        """Work until cancelled; the workloads go on after it."""
        _log.info("agent started", device=self._config.device_id, version=VERSION)
        self._restore()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._manager.run())
                group.create_task(self._session.run())
                group.create_task(self._meet_engine())
        finally:
            await self._engine.close()
            _log.info("agent stopped; workloads go on")

    def _restore(self) -> None:
        saved = self._store.load()
        if saved is None:
            _log.info("no desired state on disk; containers are left as they are", path=str(self._store.path))
            return
        self._wishes, self._leaving = saved.wishes, set(saved.leaving)
        self._manager.want(saved.wishes)
        self._reporter.leaving(self._leaving)

    def _want(self, wishes: Wishes) -> None:
        removed = set(self._wishes or {}) - set(wishes)
        self._leaving = (self._leaving | removed) - set(wishes)
        if wishes != self._wishes:
            _log.info("desired state", deployments=sorted(wishes), removed=sorted(removed))
        self._wishes = wishes
        self._save()
        self._manager.want(wishes)
        self._reporter.leaving(self._leaving)

    def _gone(self, deployment: str) -> None:
        self._leaving.discard(deployment)
        self._save()

    def _save(self) -> None:
        """Keep the wishes for a boot without a network. A full disk is reported, and tried again at the next read."""
        unsaved = ""
        try:
            self._store.save(Saved(self._wishes or {}, tuple(sorted(self._leaving))))
        except OSError as error:
            unsaved = f"{self._store.path}: {error.strerror}"
        if unsaved != self._manager.unsaved:
            self._manager.unsaved = unsaved
            if unsaved:
                _log.error("desired state not saved; the agent goes on", why=unsaved)
            else:
                _log.info("desired state saved again")

    async def _meet_engine(self) -> None:
        backoff = Backoff(1, 30)
        while True:
            try:
                self._reporter.engine(await self._engine.version())
            except (EngineDown, EngineRefused):
                await asyncio.sleep(backoff.next())
            else:
                return
