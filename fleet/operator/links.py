"""The operator's three connections to NATS, and the buckets it answers for."""

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
from fleet.operator.readiness import Readiness

log = structlog.get_logger()


class Links(msgspec.Struct, frozen=True):
    """`app` is where the shared buckets are, `control` where the registry is, `system` where sessions are seen.

    `replicas` is how many servers keep each bucket.
    """

    app: Bus
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
        """End all three."""
        await asyncio.gather(self.app.close(), self.control.close(), self.system.close())


async def open_links(
    config: OperatorConfig, readiness: Readiness, missed: Callable[[], None], hearing: Callable[[bool], None]
) -> Links:
    """Connect, however long it takes; `missed` is called after every outage, `hearing` told when devices are heard.

    Raises:
        InvalidInput: the CA is no PEM certificate.
    """

    async def link(user: str, password: str) -> Bus:
        def notice(said: str) -> None:
            if user == APP_USER and said in {DISCONNECTED, RECONNECTED}:
                hearing(said == RECONNECTED)
            if said == RECONNECTED:
                readiness.settled(subject)
                missed()
            elif said == DISCONNECTED or not connected:
                readiness.wrong(subject, said)
            else:
                log.info("NATS says", user=user, said=said)

        subject, connected = f"NATS as {user}", False
        bus = await connect(Login(config.nats_url, user, config.ca, user=user, password=password), notice=notice)
        connected = True
        readiness.settled(subject)
        return bus

    async with contextlib.AsyncExitStack() as opened:
        app = await link(APP_USER, config.nats_app_pass)
        opened.push_async_callback(app.close)
        control = await link(CONTROL_USER, config.nats_control_pass)
        opened.push_async_callback(control.close)
        system = await link(SYSTEM_USER, config.nats_system_pass)
        opened.pop_all()
    return Links(app, control, system, config.stream_replicas)
