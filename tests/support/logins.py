"""Devices that log in through a callout, and what the callout says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog.testing

from fleet.callout.main import Callout
from fleet.contract.errors import FleetError, NotPermitted, Unreachable
from fleet.contract.names import DeviceId
from fleet.contract.permissions import inbox_prefix
from fleet.nats.bus import Bus, Login, connect
from tests.support.callout import active, identities
from tests.support.nats import Nats

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


async def get(callout: Callout, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"http://127.0.0.1:{callout.health_port}{path}")


async def decided(callout: Callout) -> int:
    page = (await get(callout, "/metrics")).text
    counts = [line.split()[-1] for line in page.splitlines() if line.startswith("fleet_callout_decisions_total{")]
    return int(sum(float(count) for count in counts))
