"""The whole agent: wires the parts of one device together, and keeps what must survive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fleet.agent.answers import EngineDown, EngineRefused
from fleet.agent.crashes import ENOUGH, QUIET, Crashes
from fleet.agent.desired_state import DesiredState, changes
from fleet.agent.disk_watch import DiskWatch
from fleet.agent.engine import Engine
from fleet.agent.info import device_info
from fleet.agent.logs.own import OwnLog
from fleet.agent.logs.server import LogServer
from fleet.agent.machine_key import MachineKeyRotation
from fleet.agent.manager import Manager
from fleet.agent.observe import Observer
from fleet.agent.paths import AgentPaths
from fleet.agent.release_keys import ReleaseKeyRotation
from fleet.agent.removals import BegunRemovals, VolumeRemovals
from fleet.agent.replaced import Replaced
from fleet.agent.report import Reporter
from fleet.agent.rollbacks import Rollbacks
from fleet.agent.sealing import Sealing, Unopened
from fleet.agent.session import ConnectionTasks, DesiredCallbacks, Session
from fleet.agent.state import Saved, Store
from fleet.agent.supervise import keep_going
from fleet.agent.token import TokenSource
from fleet.agent.trust import TrustBundleRotation
from fleet.agent.upgrade.device.channel import UpgradeChannel
from fleet.agent.upgrade.device.runner import HandedOver, Installed, Runner
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.device.workload_health import Health
from fleet.agent.upgrade.protocol.events import Event, TargetSeen
from fleet.agent.upgrade.protocol.state import AgentProcess
from fleet.agent.workloads import Workloads
from fleet.contract.config import AgentConfig
from fleet.contract.owner import Owner
from fleet.contract.upgrade import EXIT_DONE, UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.volumes import VolumeOrder, VolumeOutcome
from fleet.contract.wire import DeviceInfo, DeviceState
from fleet.identity.access_token import AccessToken
from fleet.process.backoff import Backoff
from fleet.version import VERSION

_log = structlog.stdlib.get_logger()


class Agent:
    """One device's agent. `ask` gets a token from the issuer; `installed` is how it can be upgraded, if it can.

    `own_log` is what the process logs, for those who may read it.
    """

    def __init__(
        self,
        config: AgentConfig,
        paths: AgentPaths,
        ask: Callable[[], Awaitable[AccessToken]],
        installed: Installed | None = None,
        own_log: OwnLog | None = None,
    ) -> None:
        self._config = config
        self._store = Store(paths.state)
        self._engine = Engine(paths.engine(config.engine_socket))
        info = device_info(paths.root)
        self._crashes = Crashes(paths.crashes, info.boot_id)
        self._reporter = Reporter(config.device_id, info, self._gone)
        self._owner = Owner.of(config)
        self._replaced = Replaced(paths.replaced, self._owner)
        observer = Observer(self._engine, self._owner)
        self._sealing = Sealing(paths.sealing_key, config.device_id)
        workloads = Workloads(self._engine, self._owner, paths, self._sealing)
        self._manager = Manager(
            observer, workloads, self._looked, Rollbacks(paths.rollbacks), resync=config.resync_interval
        )
        owners = (self._owner, *self._replaced.owners)
        self._disk = DiskWatch(self._engine, owners, self._reporter.disk)
        self._removals = VolumeRemovals(
            self._engine,
            owners,
            workloads.making,
            lambda: self._desired_state or {},
            self._answered,
            BegunRemovals(paths.removals),
        )
        self._shown: object = None
        callbacks = DesiredCallbacks(lambda: self._desired_state or {}, self._hear, self._sealing)
        self._runner = self._upgrades(info, installed, paths) if installed else None
        channel = (
            self._runner.channel
            if self._runner
            else UpgradeChannel(config.device_id, config.resync_interval, self._refuse)
        )
        trust = TrustBundleRotation(paths.config, config, self._reporter.trusts)
        self.logs = LogServer(config.device_id, self._owner, self._engine, own_log or OwnLog())
        tokens = TokenSource(ask)
        keys = MachineKeyRotation(paths, config, tokens, self._reporter.keys, self._reporter.asked_anew)
        release_keys = ReleaseKeyRotation(VersionStore(paths.root), config.resync_interval, self._reporter.release_keys)
        tasks = ConnectionTasks(channel, self.logs, keys, release_keys)
        self._session = Session(config, tokens, trust, self._reporter, callbacks, tasks)
        self._health = Health(config.upgrade.patience, self._runner.put_event if self._runner else lambda _: None)
        self._desired_state: DesiredState | None = None
        self._deferred: DesiredState | None = None
        self._leaving: set[str] = set()
        self._writes = False

    def _upgrades(self, info: DeviceInfo, installed: Installed, paths: AgentPaths) -> Runner:
        process = AgentProcess(installed.release, info.instance_id, info.boot_id)
        return Runner(self._config, process, installed.disk, self, paths.lock)

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
                group.create_task(keep_going("engine's version", self._await_engine))
                group.create_task(keep_going("disk usage", self._disk.run))
                group.create_task(keep_going("removal of volumes", self._removals.run))
                group.create_task(keep_going("sealing key", self._report_key))
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
        """As `AgentControl.write`."""
        self._manager.allow(may_begin=engine)
        before, self._writes = self._writes, engine or reports
        if self._writes and not before:
            # Whoever was the writer until now may have changed what is on disk.
            self._restore()
            if self._deferred is not None:
                self._want(self._deferred)
        self._removals.allow(may_begin=engine)
        self.logs.allow(answers=reports)
        await self._reporter.allow(reports=reports)
        self._health.emit(busy=self._manager.busy)

    def report(self, status: UpgradeStatus) -> None:
        """As `AgentControl.report`."""
        self._reporter.upgrade(status)

    def beat_as(self, generation: int) -> None:
        """As `AgentControl.beat_as`."""
        self._reporter.generation = generation

    def _refuse(self, event: Event) -> None:
        """This agent was not installed by `fleet device setup --agent`, and there is no other version."""
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
        shown = present, {name: state.container_id for name, state in states.items()}
        if shown != self._shown:
            self._shown = shown
            self._disk.changed()
            self._removals.changed()

    def _answered(self, outcomes: tuple[VolumeOutcome, ...]) -> None:
        self._reporter.volumes(outcomes)
        self._disk.changed()

    def _restore(self) -> None:
        saved = self._store.load()
        if saved is None:
            _log.info("no desired state to restore; containers are left as they are", path=str(self._store.path))
            return
        if saved.owner != self._owner and (saved.owner is not None or self._replaced.owners):
            _log.warning("the desired state on disk was ordered by another identity; it is not restored")
            return
        self._desired_state, self._leaving = saved.desired_state, set(saved.leaving)
        self._reporter.leaving(self._leaving)
        crashes = self._crashes.begin()
        if crashes < ENOUGH:
            self._manager.want(saved.desired_state)
        else:
            _log.error(
                "agents crashed with what is on disk; nothing changes until NATS tells what to run", times=crashes
            )

    async def _settle(self) -> None:
        await asyncio.sleep(QUIET)
        self._crashes.over()

    def _hear(self, desired_state: DesiredState, orders: tuple[VolumeOrder, ...]) -> None:
        self._want(desired_state)
        self._removals.order(orders)

    def _want(self, desired_state: DesiredState) -> None:
        if not self._writes:
            self._deferred = desired_state
            return
        removed = set(self._desired_state or {}) - set(desired_state)
        self._leaving = (self._leaving | removed) - set(desired_state)
        if desired_state != self._desired_state:
            _log.info(
                "desired state",
                deployments=sorted(desired_state),
                removed=sorted(removed),
                changes=changes(self._desired_state or {}, desired_state),
            )
        self._desired_state = desired_state
        self._save()
        self._manager.want(desired_state)
        self._reporter.leaving(self._leaving)

    def _gone(self, deployment: str) -> None:
        self._leaving.discard(deployment)
        self._save()

    def _save(self) -> None:
        """Save the desired state for a boot without a network. A full disk is reported; the next read tries again."""
        unsaved = ""
        try:
            self._store.save(Saved(self._desired_state or {}, tuple(sorted(self._leaving)), owner=self._owner))
        except OSError as error:
            unsaved = f"{self._store.path}: {error.strerror or error}"
        if unsaved != self._manager.unsaved:
            self._manager.unsaved = unsaved
            if unsaved:
                _log.error("desired state not saved; the agent goes on", why=unsaved)
            else:
                _log.info("desired state saved again")

    async def _await_engine(self) -> None:
        backoff = Backoff(1, 30)
        while True:
            try:
                self._reporter.engine(await self._engine.version())
            except (EngineDown, EngineRefused):
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _report_key(self) -> None:
        backoff = Backoff(5, 300)
        while True:
            try:
                self._reporter.seals_for(await self._sealing.key())
            except Unopened as error:
                _log.error("no secret can be sealed for this device", why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                return
