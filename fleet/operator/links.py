"""The operator's connections to NATS, and the buckets it answers for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

import msgspec
import structlog

from fleet.bus import DISCONNECTED, RECONNECTED, Bus, Login, connect
from fleet.contract.buckets import APP_BUCKETS, APP_USER, CONTROL_USER, IDENTITIES, SYSTEM_USER, Bucket
from fleet.contract.config import OperatorConfig
from fleet.operator.reader import Reader
from fleet.operator.readiness import Readiness

log = structlog.get_logger()


class Links(msgspec.Struct, frozen=True):
    """`app` is where the shared buckets are, `control` where the registry is, `system` where sessions are seen.

    `devices` hears what devices write, on a connection of its own: none of the others waits for it. `replicas` is how
    many servers keep each bucket.
    """

    app: Bus
    devices: Reader
    control: Bus
    system: Bus
    replicas: int

    async def ensure_buckets(self) -> None:
        """Make the buckets that are not there, or not as they must be: also those that NATS lost with its disk.

        Raises:
            FleetError: NATS did not answer, or refused.
        """
        await self.app.ensure(*cast("tuple[Bucket[msgspec.Struct], ...]", APP_BUCKETS), replicas=self.replicas)
        await self.app.ensure_blobs(replicas=self.replicas)
        await self.control.ensure(cast("Bucket[msgspec.Struct]", IDENTITIES), replicas=self.replicas)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(self.app.close(), self.devices.close(), self.control.close(), self.system.close())


async def open_links(
    config: OperatorConfig, readiness: Readiness, missed: Callable[[], None], hearing: Callable[[bool], None]
) -> Links:
    """Connect, however long it takes; `missed` is called after every outage, `hearing` told when devices are heard.

    Raises:
        InvalidInput: the CA is no PEM certificate.
    """

    def login(user: str, password: str) -> Login:
        return Login(config.nats_url, user, config.ca, user=user, password=password)

    async def link(user: str, password: str) -> Bus:
        watch = _Watch(f"NATS as {user}", readiness, missed)
        bus = await connect(login(user, password), notice=watch.notice)
        watch.begun()
        return bus

    async def reader() -> Reader:
        def notice(said: str) -> None:
            if said in {DISCONNECTED, RECONNECTED}:
                hearing(said == RECONNECTED)
            watch.notice(said)

        watch = _Watch("NATS for what devices say", readiness, missed)
        reader = Reader(login(APP_USER, config.nats_app_pass), notice, missed)
        opened.push_async_callback(reader.close)
        await reader.start()
        watch.begun()
        return reader

    async with contextlib.AsyncExitStack() as opened:
        app = await link(APP_USER, config.nats_app_pass)
        opened.push_async_callback(app.close)
        control = await link(CONTROL_USER, config.nats_control_pass)
        opened.push_async_callback(control.close)
        system = await link(SYSTEM_USER, config.nats_system_pass)
        opened.push_async_callback(system.close)
        devices = await reader()
        opened.pop_all()
    return Links(app, devices, control, system, config.stream_replicas)


class _Watch:
    """What one connection says, for the readiness."""

    def __init__(self, subject: str, readiness: Readiness, missed: Callable[[], None]) -> None:
        self._subject = subject
        self._readiness = readiness
        self._missed = missed
        self._connected = False

    def begun(self) -> None:
        self._connected = True
        self._readiness.settled(self._subject)

    def notice(self, said: str) -> None:
        if said == RECONNECTED:
            self._readiness.settled(self._subject)
            self._missed()
        elif said == DISCONNECTED or not self._connected:
            self._readiness.wrong(self._subject, said)
        else:
            log.info("NATS says", subject=self._subject, said=said)
