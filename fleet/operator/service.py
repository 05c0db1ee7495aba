"""The operator put together, and its life from start to signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from functools import partial

import structlog

from fleet.contract.buckets import IDENTITIES
from fleet.contract.config import OperatorConfig
from fleet.health import listen, server
from fleet.operator.act import Actor
from fleet.operator.act.drops import Drops
from fleet.operator.act.events import Events
from fleet.operator.act.keys import Keys
from fleet.operator.act.objects import Objects
from fleet.operator.act.writer import Writer
from fleet.operator.counts import Counts
from fleet.operator.credentials import read_credentials
from fleet.operator.handlers import quiet_kopf
from fleet.operator.knowledge import Knowledge
from fleet.operator.kube import KubeApi
from fleet.operator.links import open_links
from fleet.operator.loop import Bell, Loop
from fleet.operator.metrics import Metrics
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Kind
from fleet.operator.revocations import Revocations
from fleet.operator.sessions import Sessions
from fleet.operator.store import Store
from fleet.operator.strays import Strays
from fleet.operator.upgrade.view import Rules
from fleet.operator.watching import keep_watching

log = structlog.get_logger()


class Operator:
    """One operator, until `stop` is set."""

    def __init__(self, config: OperatorConfig) -> None:
        """Listen for health checks; contact nobody yet.

        Raises:
            Conflict: the health port is taken.
            NotFound, InvalidInput: the kubeconfig is missing, or of no use.
        """
        self.stop = asyncio.Event()
        self.readiness = Readiness("reconcile")
        self._config = config
        self._metrics = Metrics()
        self._bell = Bell()
        rules = config.upgrade
        self._store = Store(config.offline_after_intervals, Rules(rules.at_once, rules.abort_after, rules.soak))
        self._metrics.registry.register(Counts(self._store))
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
            links = await open_links(self._config, self.readiness, self._bell.read_again, self._store.hearing)
            cleanup.push_async_callback(links.close)
            api = KubeApi(self._read, self._config.namespace)
            cleanup.push_async_callback(api.close)
            sessions = Sessions(links.system, self._metrics.kicked.inc)
            drops = Drops(sessions, self._store, self._bell.wake)
            cleanup.push_async_callback(drops.stop)
            strays = Strays(self._metrics)
            revocations = Revocations(self._store, links.control.kv(IDENTITIES), drops)
            knowledge = Knowledge(self._store, strays, api, links, self.readiness, self._metrics, revocations)
            events = Events(api, self.readiness, strays)
            writer = Writer(
                Objects(api, self._store, events),
                self.readiness,
                self._metrics,
                wake=self._bell.wake,
                info_refused=self._store.refuse_info,
            )
            keys = Keys(links.app, links.control, self._store, self._bell.wake)
            actor = Actor(keys, writer, drops, self._metrics)
            await knowledge.follow(self._bell.wake, self._bell.read_again)
            await sessions.guard(self._store.barred, self._session_begun)
            loop = Loop(
                self._bell,
                self._store,
                knowledge,
                actor,
                self.readiness,
                self._metrics,
                self._config.resync_interval,
            )
            await self._together(knowledge, loop.run, revocations.run, writer.run, events.run)

    def _session_begun(self, device: str) -> None:
        self._store.session_begun(device)
        self._bell.wake()

    async def _together(self, knowledge: Knowledge, *parts: Callable[[], Coroutine[object, object, None]]) -> None:
        """Watch, and run the parts, until one of them fails."""

        def told(kind: Kind, data: bytes, deleted: bool) -> None:
            if knowledge.take(kind, data, deleted):
                self._bell.wake()

        async def watch() -> None:
            # What cannot be listed cannot be watched either, and kopf would say so at length.
            await knowledge.complete.wait()
            await keep_watching(self._read, self._config.namespace, told, self.readiness, self._bell.read_again)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(), name="watch")
            for part in parts:
                tasks.create_task(part(), name=part.__qualname__)


async def serve(config: OperatorConfig) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    quiet_kopf()
    operator = Operator(config)
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, operator.stop.set)
    await operator.run()
