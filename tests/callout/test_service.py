"""The service on a real nats-server: who gets in, who does not and why, and what it survives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog.testing

from fleet.bus import RECONNECTED, Bus, Entry, Login, connect
from fleet.contract.buckets import APP_BUCKETS, APP_USER, AUTH_SUBJECT, CALLOUT_USER, DEVICE_INFO
from fleet.contract.errors import FleetError, NotPermitted, Unreachable
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.permissions import inbox_prefix
from fleet.contract.wire import DeviceInfo
from tests.support.callout import active, answering, callout_config, identities, revoked
from tests.support.issuer import OTHER_PROJECT, PROJECT, Issuer, roles_claim, rsa
from tests.support.nats import Nats
from tests.support.waiting import eventually

INFO = DeviceInfo(AgentVersion("v0.1.0"), "x86_64", "Debian 12", "6.1", 1, 2, "boot")
SUBJECT = "274001"


def device_login(nats: Nats, token: Callable[[], str] | str, device: str = "pi-1") -> Login:
    made = token if callable(token) else lambda: token
    return Login(nats.url, device, nats.tls.ca, token=made, inbox=inbox_prefix(DeviceId(device)))


@asynccontextmanager
async def device(nats: Nats, token: Callable[[], str] | str, name: str = "pi-1") -> AsyncGenerator[Bus]:
    bus = await connect(device_login(nats, token, name), notice=lambda _: None, attempts=1)
    try:
        yield bus
    finally:
        await bus.close()


async def refusal(nats: Nats, token: str) -> FleetError:
    with pytest.raises((NotPermitted, Unreachable)) as error:
        async with device(nats, token):
            pass
    return error.value


def decisions(logs: list[Any]) -> list[str]:
    return [line["reason"] for line in logs if line["event"] == "decision"]


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> list[Any]:
    """Run it, and return what was logged."""
    with structlog.testing.capture_logs() as logs:
        asyncio.run(body())
    return logs


async def enroll(nats: Nats, **devices: str) -> None:
    async with identities(nats) as registry:
        for subject, name in devices.items():
            await registry.put(subject.removeprefix("s"), active(name))


def test_an_enrolled_device_gets_in_and_does_its_work(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        operator = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        await operator.ensure(*APP_BUCKETS)
        async with answering(callout_config(nats, issuer)), device(nats, issuer.token(SUBJECT)) as bus:
            await bus.kv(DEVICE_INFO).put("pi-1", INFO)
        assert isinstance(await operator.kv(DEVICE_INFO).get("pi-1"), Entry)
        await operator.close()

    (decision,) = [line for line in run(body) if line["event"] == "decision"]
    assert (decision["reason"], decision["device"], decision["client"]) == ("allowed", "pi-1", "pi-1")
