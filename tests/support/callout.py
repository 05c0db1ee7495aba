"""The callout service in the test's own event loop, and the registry it reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fleet.callout.main import Callout
from fleet.contract.buckets import CALLOUT_USER, CONTROL_USER, IDENTITIES
from fleet.contract.config import CalloutConfig
from fleet.contract.names import DeviceId
from fleet.contract.wire import Identity, IdentityState, Quarantine
from fleet.nats.bus import KV, connect
from tests.support.issuer import PROJECT, Issuer
from tests.support.nats import PASSWORDS, Nats
from tests.support.waiting import eventually


def active(device: str) -> Identity:
    return Identity(DeviceId(device), IdentityState.ACTIVE)


def revoked(device: str) -> Identity:
    return Identity(DeviceId(device), IdentityState.REVOKED)


def rotated(device: str, after: float) -> Identity:
    return Identity(DeviceId(device), IdentityState.ACTIVE, tokens_after=int(after))


def quarantined(device: str, until: float = 0) -> Identity:
    why = Quarantine(began=1_700_000_000, times=1, why="it wrote too much", until=until)
    return Identity(DeviceId(device), IdentityState.QUARANTINED, why)


def callout_config(nats: Nats, issuer: Issuer, **changes: object) -> CalloutConfig:
    settings: dict[str, object] = {
        "nats_url": nats.url,
        "nats_user": CALLOUT_USER,
        "nats_auth_pass": PASSWORDS.callout,
        "ca": nats.tls.ca,
        "issuer": issuer.url,
        "project_id": PROJECT,
        "issuer_seed": nats.issuer_seed,
        "xkey_seed": nats.xkey_seed if nats.sealed else "",
        **changes,
    }
    return CalloutConfig(**settings)  # pyright: ignore[reportArgumentType]


@asynccontextmanager
async def identities(nats: Nats) -> AsyncGenerator[KV[Identity]]:
    """The registry, as the operator writes it."""
    bus = await connect(nats.login(CONTROL_USER), notice=lambda _: None, attempts=1)
    try:
        await bus.ensure(IDENTITIES)
        yield bus.kv(IDENTITIES)
    finally:
        await bus.close()


@asynccontextmanager
async def answering(config: CalloutConfig) -> AsyncGenerator[Callout]:
    """A replica that is ready."""
    callout, stop = Callout(config), asyncio.Event()
    running = asyncio.create_task(callout.run(stop))
    try:
        await eventually(lambda: running.done() or not callout.unready(), "the callout is ready", within=30)
        yield callout
    finally:
        stop.set()
        await running
