"""A real nats-server with the product's configuration, a real callout beside it, and devices in the registry."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.issuer import PROJECT, Issuer
from fleet.contract.buckets import CALLOUT_USER, CONTROL_USER, IDENTITIES
from fleet.contract.config import CalloutConfig, render_config
from fleet.contract.names import DeviceId
from fleet.contract.wire import Identity, IdentityState
from fleet.nats.bus import connect
from harness.processes.ports import free_port
from harness.processes.spawn import http_answers, running
from tests.support.nats import PASSWORDS, Nats

_LOADED = 60
"""Seconds that the callout may take until it has read a registry of 10,000 devices."""


@dataclass(frozen=True)
class Enrolled:
    """A device as the benchmark sees it: its id, its token's subject, and the token."""

    device: str
    subject: str
    token: str


@contextmanager
def running_nats(nats: Nats) -> Generator[subprocess.Popen[bytes]]:
    """The server while the `with` lasts."""
    nats.start()
    assert nats.process is not None
    try:
        yield nats.process
    finally:
        nats.stop()


@contextmanager
def running_callout(nats: Nats, issuer: Issuer, folder: Path) -> Generator[subprocess.Popen[bytes]]:
    """A fresh callout process, ready; one that has seen no token yet."""
    health = free_port()
    config = CalloutConfig(
        nats_url=nats.url,
        nats_user=CALLOUT_USER,
        nats_auth_pass=PASSWORDS.callout,
        ca=nats.tls.ca,
        issuer=issuer.url,
        project_id=PROJECT,
        issuer_seed=nats.issuer_seed,
        xkey_seed=nats.xkey_seed,
        health_port=health,
    )
    path = folder / "callout.json"
    path.touch(0o600)
    path.write_bytes(render_config(config))
    argv = [str(Path(sys.executable).with_name("fleet-callout")), "--config", str(path)]
    ready = f"http://127.0.0.1:{health}/readyz"
    with running(
        argv, name="callout", log=folder / "callout.log", ready=lambda: http_answers(ready), timeout=_LOADED
    ) as process:
        yield process


def enroll(nats: Nats, issuer: Issuer, count: int) -> list[Enrolled]:
    """Devices with tokens of their own, written into the registry as the operator does."""
    devices = [Enrolled(f"bench-{number}", f"2{number:017}", issuer.token(f"2{number:017}")) for number in range(count)]
    asyncio.run(_register(nats, devices))
    return devices


async def _register(nats: Nats, devices: Sequence[Enrolled]) -> None:
    bus = await connect(nats.login(CONTROL_USER), notice=lambda _: None, attempts=20)
    try:
        await bus.ensure(IDENTITIES)
        registry = bus.kv(IDENTITIES)
        for first in range(0, len(devices), 256):
            batch = devices[first : first + 256]
            await asyncio.gather(
                *(registry.put(one.subject, Identity(DeviceId(one.device), IdentityState.ACTIVE)) for one in batch)
            )
    finally:
        await bus.close()
