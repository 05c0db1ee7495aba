"""The operator's connections to NATS, and the buckets it answers for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

import msgspec
import structlog

from fleet.contract.buckets import (
    APP_BUCKETS,
    APP_USER,
    CONTROL_USER,
    IDENTITIES,
    SYSTEM_USER,
    TRUST_BUNDLE,
    TRUST_KEY,
    Bucket,
)
from fleet.contract.certificates import TrustBundle
from fleet.contract.config import OperatorConfig
from fleet.contract.versions import user_of
from fleet.nats.bus import DISCONNECTED, RECONNECTED, Bus, Entry, Login, connect
from fleet.operator.meter import Flood
from fleet.operator.reader import Reader
from fleet.operator.readiness import Readiness
from fleet.operator.single_reports import adopt

log = structlog.get_logger()


class Connections(msgspec.Struct, frozen=True):
    """`app` is where the shared buckets are, `control` where the registry is, `system` where sessions are seen.

    `devices` hears what devices write, on a connection of its own: none of the others waits for it. `replicas` is how
    many servers keep each bucket, `trust_bundle` the certificates (PEM) that devices are to trust.
    """

    app: Bus
    devices: Reader
    control: Bus
    system: Bus
    replicas: int
    trust_bundle: str

    async def ensure_buckets(self) -> None:
        """Make the buckets that are not there, or not as they must be: also those that NATS lost with its disk.

        Raises:
            FleetError: NATS did not answer, or refused.
        """
        await self.app.ensure(*cast("tuple[Bucket[msgspec.Struct], ...]", APP_BUCKETS), replicas=self.replicas)
        await adopt(self.app)
        await self._publish_trust()
        await self.app.ensure_blobs(replicas=self.replicas)
        await self.control.ensure(cast("Bucket[msgspec.Struct]", IDENTITIES), replicas=self.replicas)

    async def _publish_trust(self) -> None:
        """Tell devices what to trust; an install of a former release has not said it."""
        kv = self.app.kv(TRUST_BUNDLE)
        bundle = TrustBundle(self.trust_bundle)
        known = await kv.get(TRUST_KEY) if self.trust_bundle else None
        if self.trust_bundle and not (isinstance(known, Entry) and known.value == bundle):
            await kv.put(TRUST_KEY, bundle)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(self.app.close(), self.devices.close(), self.control.close(), self.system.close())


async def open_connections(
    config: OperatorConfig,
    readiness: Readiness,
    missed: Callable[[], None],
    connectivity: Callable[[bool], None],
    flooded: Callable[[Flood], None],
) -> Connections:
    """Connect, however long it takes.

    `missed` is called after every outage, `connectivity` when devices can or cannot be heard,
    and `flooded` when one writes too much.

    Raises:
        InvalidInput: the CA is no PEM certificate.
    """

    def login(user: str, password: str) -> Login:
        return Login(config.nats_url, user, config.ca, user=user_of(user, password), password=password)

    async def link(user: str, password: str) -> Bus:
        watch = _Watch(f"NATS as {user}", readiness, missed)
        bus = await connect(login(user, password), notice=watch.notice)
        watch.begun()
        return bus

    async def reader() -> Reader:
        def notice(message: str) -> None:
            if message in {DISCONNECTED, RECONNECTED}:
                connectivity(message == RECONNECTED)
            watch.notice(message)

        watch = _Watch("NATS for what devices say", readiness, missed)
        reader = Reader(login(APP_USER, config.nats_app_pass), notice, missed, flooded)
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
    return Connections(app, devices, control, system, config.stream_replicas, config.trust_bundle)


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

    def notice(self, message: str) -> None:
        if message == RECONNECTED:
            self._readiness.settled(self._subject)
            self._missed()
        elif message == DISCONNECTED or not self._connected:
            self._readiness.wrong(self._subject, message)
        else:
            log.info("NATS says", subject=self._subject, message=message)
