"""The operator put together, and its life from start to signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from functools import partial

import structlog

from fleet.contract.buckets import IDENTITIES
from fleet.contract.certificates import certificate_ids
from fleet.contract.config import OperatorConfig
from fleet.kube.watching import Watch
from fleet.operator.act import Actor
from fleet.operator.act.events import Events
from fleet.operator.act.keys import Keys
from fleet.operator.act.objects import Objects
from fleet.operator.act.revisions import Revisions
from fleet.operator.act.session_dropper import SessionDropper
from fleet.operator.act.states import States
from fleet.operator.act.writer import Writer
from fleet.operator.callouts import Callouts
from fleet.operator.connections import open_connections
from fleet.operator.counts import Counts
from fleet.operator.credentials import read_credentials
from fleet.operator.kube import KubeApi
from fleet.operator.loop import Loop, Wakeup
from fleet.operator.meter import Flood
from fleet.operator.metrics import Metrics
from fleet.operator.openbao import SecretSource
from fleet.operator.quarantines import Quarantines
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Kind
from fleet.operator.revocations import Revocations
from fleet.operator.secret_reader import SecretReader
from fleet.operator.sent_listener import SentListener
from fleet.operator.sessions import Sessions
from fleet.operator.single_reports import SingleReports
from fleet.operator.skipped_keys import SkippedKeys
from fleet.operator.state_reader import ObjectListeners, StateReader
from fleet.operator.store import Store
from fleet.operator.web import WebProcess
from fleet.process.health import listen, server

log = structlog.get_logger()


class Operator:
    """One operator, until `stop` is set."""

    def __init__(self, config: OperatorConfig) -> None:
        """Listen for health checks; open no other connection yet.

        Raises:
            Conflict: the health port is taken.
            NotFound, InvalidInput: the kubeconfig is missing, or of no use.
        """
        self.stop = asyncio.Event()
        self.readiness = Readiness("reconcile")
        self._config = config
        self._metrics = Metrics()
        self._wakeup = Wakeup()
        self._store = Store(config.offline_after_intervals, config.upgrade)
        self._store.trust_bundle = certificate_ids(config.trust_bundle)
        self._metrics.registry.register(Counts(self._store, config.trust_bundle, config.secret_ages))
        self._read = partial(read_credentials, config.kubeconfig)
        self._read().trust()
        self._listener = listen(config.health_host, config.health_port)
        self.port: int = self._listener.getsockname()[1]

    async def run(self) -> None:
        """Work until `stop` is set.

        Raises:
            InvalidInput: the CA of NATS is no PEM certificate.
        """
        health = server(self._listener, self.readiness.reason, self._metrics.registry, self.readiness.remarks)
        pages = asyncio.create_task(health.serve([self._listener]), name="health")
        work = asyncio.create_task(self._work(), name="work")
        stop = asyncio.create_task(self.stop.wait(), name="stop")
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            self.readiness.end()
            work.cancel()
            stop.cancel()
            await asyncio.gather(work, stop, return_exceptions=True)
            health.should_exit = True
            await pages
        log.info("stopped")

    async def _work(self) -> None:
        async with contextlib.AsyncExitStack() as cleanup:
            floods: asyncio.Queue[Flood] = asyncio.Queue()
            api = KubeApi(self._read, self._config.namespace)
            cleanup.push_async_callback(api.close)
            callouts = Callouts(self._config.callouts)
            web = self._page(api, callouts)
            # Before NATS is there: the page is what says that it is away.
            page = asyncio.create_task(web.run(), name="web page") if web is not None else None
            if page is not None:
                cleanup.push_async_callback(_ended, page)
            connections = await open_connections(
                self._config,
                self.readiness,
                self._wakeup.read_again,
                self._store.connectivity.devices,
                floods.put_nowait,
            )
            cleanup.push_async_callback(connections.close)
            callouts.control = connections.control
            sessions = Sessions(connections.system, self._metrics.kicked.inc, floods.put_nowait)
            dropper = SessionDropper(sessions, self._store, self._wakeup.wake)
            cleanup.push_async_callback(dropper.stop)
            skipped = SkippedKeys(self._metrics)
            revocations = Revocations(self._store, connections.control.kv(IDENTITIES), dropper)
            quarantines = Quarantines(
                self._store, connections.control.kv(IDENTITIES), dropper, self._metrics, self._wakeup.wake
            )
            states = States(connections.app)
            singles = SingleReports(connections.app, states, self._store, self._wakeup.wake)
            cleanup.push_async_callback(singles.stop)
            source = SecretSource(api, lambda: self._read().bearer())
            cleanup.push_async_callback(source.close)
            secrets = SecretReader(
                source, self._store.secrets, self.readiness, self._wakeup.wake, self._metrics.token_ends
            )
            events = Events(api, self.readiness, skipped, *((web.tell,) if web is not None else ()))
            beside_it = ObjectListeners(revocations, secrets, events)
            state_reader = StateReader(self._store, skipped, api, connections, self.readiness, self._metrics, beside_it)
            revisions = Revisions(
                api, self._store, self.readiness, skipped, *((web.tell_revisions,) if web is not None else ())
            )
            writer = Writer(
                Objects(api, self._store, events, revisions.look_at),
                self.readiness,
                self._metrics,
                wake=self._wakeup.wake,
                info_refused=self._store.refuse_info,
            )
            keys = Keys(connections.app, connections.control, states, self._store, self._wakeup.wake)
            actor = Actor(keys, writer, dropper, self._metrics)
            await singles.follow(connections.devices)
            await state_reader.follow(self._wakeup.wake, self._wakeup.agent_published)
            await sessions.guard(self._store.is_barred, self._session_begun)
            await SentListener(connections.devices, sessions.owner, floods.put_nowait).follow()
            loop = Loop(
                self._wakeup,
                self._store,
                state_reader,
                actor,
                self.readiness,
                self._metrics,
                self._config.resync_interval,
            )
            shutting_out = partial(quarantines.run, floods)
            beside = [revocations.run, shutting_out, writer.run, events.run, sessions.keep_looking, secrets.run]
            if page is not None:
                beside.append(partial(asyncio.wait_for, page, None))
            beside.append(partial(_keep, revisions, state_reader))
            watches = partial(self._watch, api, state_reader)
            async with asyncio.TaskGroup() as tasks:
                for part in (watches, loop.run, *beside):
                    tasks.create_task(part())

    def _page(self, api: KubeApi, callouts: Callouts) -> WebProcess | None:
        """The web page, if there is to be one."""
        page = self._config.web
        return WebProcess(self._config, page, self._read, api, self.readiness, callouts) if page is not None else None

    async def _watch(self, api: KubeApi, state_reader: StateReader) -> None:
        await state_reader.complete.wait()
        kinds: tuple[Kind, ...] = ("Device", "FleetDeployment")
        async with asyncio.TaskGroup() as tasks:
            for kind in kinds:
                watch = Watch(api, kind, state_reader, self.readiness, self._wakeup.wake)
                tasks.create_task(watch.run(), name=f"watch {kind}")

    def _session_begun(self, device: str) -> None:
        self._store.session_begun(device)
        self._wakeup.wake()


async def _ended(page: asyncio.Task[None]) -> None:
    page.cancel()
    await asyncio.gather(page, return_exceptions=True)


async def _keep(revisions: Revisions, state_reader: StateReader) -> None:
    # Before everything is read, every revision would be one of a deployment that is gone.
    await state_reader.complete.wait()
    await revisions.run()


async def serve(config: OperatorConfig) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    operator = Operator(config)
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, operator.stop.set)
    await operator.run()
