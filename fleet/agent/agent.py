"""The whole agent: wires the parts of one device together, and keeps what must survive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fleet.agent.answers import EngineDown, EngineRefused
from fleet.agent.backoff import Backoff
from fleet.agent.crashes import ENOUGH, QUIET, Crashes
from fleet.agent.engine import Engine
from fleet.agent.grant import Token
from fleet.agent.info import device_info
from fleet.agent.manager import Manager
from fleet.agent.observe import Observer
from fleet.agent.place import Place
from fleet.agent.replaced import Replaced
from fleet.agent.report import Reporter
from fleet.agent.session import Ears, Session
from fleet.agent.state import Saved, Store
from fleet.agent.supervise import keep_going
from fleet.agent.token import TokenKeeper
from fleet.agent.upgrade.events import Event, TargetSeen
from fleet.agent.upgrade.health import Health
from fleet.agent.upgrade.line import Line
from fleet.agent.upgrade.runner import HandedOver, Installed, Runner
from fleet.agent.upgrade.state import Me
from fleet.agent.wishes import Wishes
from fleet.agent.workloads import Workloads
from fleet.contract.config import AgentConfig
from fleet.contract.owner import Owner
from fleet.contract.upgrade import EXIT_DONE, UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import DeviceInfo, DeviceState
from fleet.version import VERSION

_log = structlog.stdlib.get_logger()


class Agent:
    """One device's agent. `ask` gets a token from the issuer; `installed` is how it can be upgraded, if it can."""

    def __init__(
        self,
        config: AgentConfig,
        place: Place,
        ask: Callable[[], Awaitable[Token]],
        installed: Installed | None = None,
    ) -> None:
        """Read and contact nothing yet."""
        self._config = config
        self._store = Store(place.state)
        self._engine = Engine(place.engine(config.engine_socket))
        info = device_info(place.root)
        self._crashes = Crashes(place.crashes, info.boot_id)
        self._reporter = Reporter(config.device_id, info, self._gone)
        self._owner = Owner.of(config)
        self._replaced = Replaced(place.replaced, self._owner)
        observer = Observer(self._engine, self._owner)
        workloads = Workloads(self._engine, self._owner, place.images)
        self._manager = Manager(observer, workloads, self._looked, resync=config.resync_interval)
        ears = Ears(lambda: self._wishes or {}, self._want)
        self._runner = self._upgrades(info, installed, place) if installed else None
        line = self._runner.line if self._runner else Line(config.device_id, config.resync_interval, self._refuse)
        self._session = Session(config, TokenKeeper(ask), self._reporter, ears, line)
        self._health = Health(config.upgrade.patience, self._runner.tell if self._runner else lambda _: None)
        self._wishes: Wishes | None = None
        self._unheeded: Wishes | None = None
        self._leaving: set[str] = set()
        self._writes = False

    def _upgrades(self, info: DeviceInfo, installed: Installed, place: Place) -> Runner:
        me = Me(installed.release, info.instance_id, info.boot_id)
        return Runner(self._config, me, installed.disk, self, place.lock)

    async def run(self) -> int:
        """Work until cancelled, or until another version has taken over; the workloads go on after it.

        Returns:
            The exit status of the process.
        """
        _log.info("agent started", device=self._config.device_id, version=VERSION)
        handed_over, in_order = False, True
        await self.write(engine=self._runner is None, reports=self._runner is None)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(keep_going("workloads", self._manager.run))
                group.create_task(keep_going("connection", self._session.run))
                group.create_task(keep_going("engine's version", self._meet_engine))
                group.create_task(keep_going("end of other identities", lambda: self._replaced.end(self._engine)))
                group.create_task(self._settle())
                if self._runner is not None:
                    group.create_task(self._runner.run())
        except* HandedOver:
            handed_over = True
        except* Exception:
            in_order = False
            raise
        finally:
            if in_order:
                self._crashes.over()
            await self._engine.close()
            _log.info("agent stopped; workloads go on", handed_over=handed_over)
        return EXIT_DONE if handed_over else 0

    async def write(self, *, engine: bool, reports: bool) -> None:
        """As `Door.write`."""
        self._manager.allow(may_begin=engine)
        before, self._writes = self._writes, engine or reports
        if self._writes and not before:
            # Whoever was the writer until now may have changed what is on disk.
            self._restore()
            if self._unheeded is not None:
                self._want(self._unheeded)
        await self._reporter.allow(reports=reports)
        self._health.say(busy=self._manager.busy)

    def report(self, status: UpgradeStatus) -> None:
        """As `Door.report`."""
        self._reporter.upgrade(status)

    def beat_as(self, generation: int) -> None:
        """As `Door.beat_as`."""
        self._reporter.generation = generation

    def _refuse(self, event: Event) -> None:
        """This agent was not installed by `fleet device setup --agent`, and has no version beside it."""
        if isinstance(event, TargetSeen) and event.target is not None and not event.target.withdrawn:
            target = event.target
            self._reporter.upgrade(
                UpgradeStatus(
                    generation=target.generation,
                    phase=UpgradePhase.REFUSED,
                    reason=UpgradeReason.NOT_UPGRADABLE,
                    message="set it up with `fleet device setup --agent`",
                    running=VERSION,
                    candidate=target.version,
                )
            )

    def _looked(self, states: dict[str, DeviceState], present: frozenset[str] | None) -> None:
        self._reporter.states(states, present)
        self._health.see(states, busy=self._manager.busy)

    def _restore(self) -> None:
        saved = self._store.load()
        if saved is None:
            _log.info("no desired state to restore; containers are left as they are", path=str(self._store.path))
            return
        if saved.owner != self._owner and (saved.owner is not None or self._replaced.owners):
            _log.warning("the desired state on disk was ordered by another identity; it is not restored")
            return
        self._wishes, self._leaving = saved.wishes, set(saved.leaving)
        self._reporter.leaving(self._leaving)
        crashes = self._crashes.begin()
        if crashes < ENOUGH:
            self._manager.want(saved.wishes)
        else:
            _log.error(
                "agents crashed with what is on disk; nothing changes until NATS tells what to run", times=crashes
            )

    async def _settle(self) -> None:
        await asyncio.sleep(QUIET)
        self._crashes.over()

    def _want(self, wishes: Wishes) -> None:
        if not self._writes:
            self._unheeded = wishes
            return
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
            self._store.save(Saved(self._wishes or {}, tuple(sorted(self._leaving)), owner=self._owner))
        except OSError as error:
            unsaved = f"{self._store.path}: {error.strerror or error}"
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
