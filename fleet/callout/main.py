"""`fleet-callout --config FILE`: run the auth callout service until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import structlog

from fleet.callout.keys import Keys, check_ca
from fleet.callout.metrics import Metrics
from fleet.callout.registry import Registry
from fleet.callout.service import Responder
from fleet.callout.tokens import Tokens
from fleet.contract.buckets import CALLOUT_INBOX, IDENTITIES
from fleet.contract.config import CalloutConfig, load_config
from fleet.contract.errors import FleetError
from fleet.nats.bus import DISCONNECTED, RECONNECTED, Bus, Login, connect
from fleet.process import health
from fleet.process.console import tell
from fleet.process.logs import configure
from fleet.process.umask import tighten

log = structlog.get_logger()


class Callout:
    """The service: its components, and whether they are ready."""

    def __init__(self, config: CalloutConfig) -> None:
        """Build the components; contact nothing yet.

        Raises:
            InvalidInput: a seed or the CA in the configuration is invalid.
        """
        check_ca(config.ca)
        self._config = config
        self._metrics = Metrics()
        self.registry = Registry(self._metrics)
        self._keys = Keys(config.issuer, config.ca, self._metrics)
        tokens = Tokens(self._keys, config.project_id)
        self._responder = Responder(config, tokens, self.registry, self._metrics)
        self._bus: Bus | None = None
        self._not_answering = "starting"
        self.health_port = config.health_port

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            Conflict: the health port is taken.
        """
        with health.listen(self._config.health_host, self._config.health_port) as listener:
            self.health_port = listener.getsockname()[1]
            web = health.server(listener, self.unready, self._metrics.registry)
            page = asyncio.create_task(web.serve([listener]))
            work = asyncio.create_task(self._work())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({page, work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await self._end(work)
            stopping.cancel()
            web.should_exit = True
            await page

    def unready(self) -> str:
        """Why logins cannot be decided now; empty if they can."""
        if not (self._bus and self._bus.connected):
            return "not connected to NATS"
        if not self.registry.fresh.is_set():
            return "the identity registry is not loaded"
        if not self._keys.loaded.is_set():
            return "the issuer's keys are not loaded"
        return self._not_answering

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keys.keep_fresh())
            self._bus = await connect(self._login(), notice=self._notice)
            await self._responder.tell_keys(self._bus.client, self.unready)
            tasks.create_task(self.registry.keep(self._bus.kv(IDENTITIES)))
            # In the queue group only once there is something to decide with: a replica that is not ready hears nothing.
            await self.registry.fresh.wait()
            await self._keys.loaded.wait()
            await self._responder.start(self._bus.client)
            self._not_answering = ""
            log.info("ready")

    async def _end(self, work: asyncio.Task[None]) -> None:
        self._not_answering = "ending"
        if self._bus and self._bus.connected:
            await self._responder.stop()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        if self._bus:
            await self._bus.close()
        log.info("stopped")

    def _notice(self, what: str) -> None:
        log.info("nats", what=what)
        if what == DISCONNECTED:
            self.registry.lost()
        elif what == RECONNECTED:
            self.registry.regained()

    def _login(self) -> Login:
        config = self._config
        return Login(
            config.nats_url,
            name="fleet-callout",
            ca=config.ca,
            user=config.nats_user,
            password=config.nats_auth_pass,
            inbox=CALLOUT_INBOX,
        )


async def _serve(config: CalloutConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Callout(config).run(stop)


def main() -> None:
    """Parse the command line and serve."""
    tighten()
    parser = argparse.ArgumentParser(prog="fleet-callout", description="Decides which devices may log in to NATS.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="configuration (JSON, mode 0600)")
    arguments = parser.parse_args()
    configure("callout")
    try:
        asyncio.run(_serve(load_config(arguments.config, CalloutConfig)))
    except FleetError as error:
        tell(f"fleet-callout: {error.lines[0]}", *error.lines[1:])
        sys.exit(error.exit_code)
