"""Three real servers of NATS with the configuration and the certificates of an install."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from fleet.contract.buckets import APP_USER, Bucket
from fleet.contract.errors import Unreachable
from fleet.install.nats import NatsServer, nats_config
from fleet.install.routes import NatsCluster
from fleet.install.secrets import ServerSecrets
from fleet.nats.bus import Bus, Login, connect
from harness.binaries import resolve
from harness.processes.ports import free_port
from harness.processes.spawn import http_answers, spawn
from harness.wait import wait_until

T = TypeVar("T")

HOST = "127.0.0.1"


@dataclass
class Server:
    """One of three."""

    root: Path
    port: int
    monitor: int
    process: subprocess.Popen[bytes]

    def healthy(self) -> bool:
        return http_answers(f"http://{HOST}:{self.monitor}/healthz")


def start(
    root: Path,
    number: int,
    routes: list[int],
    secrets: ServerSecrets,
    sent: str,
    *,
    accepted: frozenset[str] = frozenset(),
    ports: tuple[int, int] | None = None,
) -> Server:
    """Start one; where it was before, it has what it kept. It comes in by the password that is sent.

    It lets in by those that are accepted, or by the same one.
    """
    folder = root / f"nats-{number}"
    folder.mkdir(exist_ok=True)
    assert secrets.routes
    files = {"tls.crt": secrets.nats_certificate, "tls.key": secrets.nats_key, "ca.crt": secrets.authority.encode()}
    for name, content in (files | {"routes.crt": secrets.routes.certificate}).items():
        (folder / name).write_bytes(content)
    port, monitor = ports or (free_port(), free_port())
    config = NatsServer(
        name="fleet-nats",
        host=HOST,
        port=port,
        monitor_port=monitor,
        tls_cert_file=str(folder / "tls.crt"),
        tls_key_file=str(folder / "tls.key"),
        store_dir=str(folder / "data"),
        passwords=secrets.passwords,
        issuer=secrets.issuer,
        xkey=secrets.xkey,
        cluster=NatsCluster(
            host=HOST,
            port=routes[number],
            routes=tuple(f"{HOST}:{route}" for route in routes),
            sent=sent,
            accepted=accepted or frozenset({sent}),
            tls_cert_file=str(folder / "routes.crt"),
            tls_key_file=str(folder / "tls.key"),
            tls_ca_file=str(folder / "ca.crt"),
        ),
    )
    (folder / "nats.json").write_text(nats_config(config))
    argv = [str(resolve("nats-server")), "--config", str(folder / "nats.json"), "--name", f"fleet-nats-{number}"]
    return Server(folder, port, monitor, spawn(argv, log=root / f"nats-{number}.log"))


def play(server: Server, secrets: ServerSecrets, scene: Callable[[Bus], Awaitable[T]]) -> T:
    async def run() -> T:
        url = f"tls://{HOST}:{server.port}"
        login = Login(url, "test", secrets.authority, user=APP_USER, password=secrets.passwords.app)
        bus = await connect(login, notice=lambda _: None, attempts=1)
        try:
            return await scene(bus)
        finally:
            await bus.close()

    return asyncio.run(run())


def together(servers: list[Server]) -> None:
    """Wait until each has a route to both others, and is healthy."""

    def known() -> list[bool]:
        return [server.healthy() and len(peers(server)) == 2 for server in servers]

    wait_until(known, "each knows both others", timeout=60, until=all)


def make_buckets(server: Server, secrets: ServerSecrets, *buckets: Bucket[Any]) -> None:
    """Make buckets that three servers keep: each has a leader of its own, whose election may take some seconds."""

    def made() -> bool:
        try:
            play(server, secrets, lambda bus: bus.ensure(*buckets, replicas=3))
        except Unreachable:
            return False
        return True

    wait_until(made, "the three have agreed on the buckets", timeout=120)


def peers(server: Server) -> set[str]:
    with contextlib.suppress(httpx.HTTPError):
        found = httpx.get(f"http://{HOST}:{server.monitor}/routez", timeout=5).json()
        return {one["remote_name"] for one in found["routes"]}
    return set()
