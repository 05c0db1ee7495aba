"""Three real servers of NATS with the configuration and the certificates of an install: one may end."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from fleet.contract.buckets import APP_USER, Bucket
from fleet.contract.errors import Unreachable
from fleet.contract.wire import DeviceState
from fleet.install.nats import NatsServer, nats_config
from fleet.install.routes import NatsCluster
from fleet.install.secrets import ServerSecrets, new_password, server_secrets
from fleet.nats.bus import Bus, Entry, Login, connect
from fleet.secrets.file import FileSecretStore
from harness.binaries import resolve
from harness.processes.ports import free_port
from harness.processes.spawn import http_answers, spawn, tail, terminate
from harness.wait import wait_until
from tests.contract.samples import SAMPLES

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


@pytest.fixture
def secrets(tmp_path: Path) -> ServerSecrets:
    return server_secrets(FileSecretStore(tmp_path / "secrets"), [HOST], [HOST])


@pytest.fixture
def three(tmp_path: Path, secrets: ServerSecrets) -> Iterator[list[Server]]:
    assert secrets.routes
    routes = [free_port() for _ in range(3)]
    servers = [start(tmp_path, number, routes, secrets, secrets.routes.password) for number in range(3)]
    yield servers
    for server in servers:
        terminate(server.process)


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


STATES = Bucket("states", DeviceState)


def test_what_three_keep_survives_the_end_of_one(three: list[Server], secrets: ServerSecrets) -> None:
    wait_until(lambda: [server.healthy() for server in three], "all are healthy", timeout=30, until=all)
    state = SAMPLES["device-state"]
    assert isinstance(state, DeviceState)

    async def keep(bus: Bus) -> None:
        await bus.ensure(STATES, replicas=3)
        await bus.kv(STATES).put("pi-1.web", state)

    def read() -> object:
        """Until the two have agreed on who leads, nobody answers."""
        try:
            return play(three[1], secrets, lambda bus: bus.kv(STATES).get("pi-1.web"))
        except Unreachable:
            return None

    play(three[0], secrets, keep)
    three[0].process.kill()
    three[0].process.wait()
    entry = wait_until(read, "one of the others answers", timeout=60)
    assert isinstance(entry, Entry)
    assert entry.value == state


def test_a_stranger_is_no_replica(three: list[Server], secrets: ServerSecrets, tmp_path: Path) -> None:
    """With a certificate of ours but another password, a route is refused."""
    wait_until(lambda: [server.healthy() for server in three], "all are healthy", timeout=30, until=all)
    config = (tmp_path / "nats-0" / "nats.json").read_text()
    known = [int(word.rpartition(":")[2]) for word in config.split('"') if "nats-route" in word]
    routes = [*known, free_port()]
    stranger = start(tmp_path, 3, routes, secrets, "another-password")
    try:
        log = tmp_path / "nats-0.log"
        wait_until(
            lambda: tail(log, 50), "it is refused", timeout=20, until=lambda said: "authentication error" in said
        )
        assert not stranger.healthy()
    finally:
        terminate(stranger.process)


def test_the_password_between_them_is_renewed_with_two_of_three_together_at_every_moment(
    three: list[Server], secrets: ServerSecrets, tmp_path: Path
) -> None:
    """Servers are restarted one after the other for each step, and the two others go on to agree on what is written."""
    config = (tmp_path / "nats-0" / "nats.json").read_text()
    routes = [int(word.rpartition(":")[2]) for word in config.split('"') if "nats-route" in word]
    assert secrets.routes
    old, new = secrets.routes.password, new_password()
    together(three)
    play(three[0], secrets, lambda bus: bus.ensure(STATES, replicas=3))
    for sent, accepted in ((old, {old, new}), (new, {old, new}), (new, {new})):
        for number in range(3):
            terminate(three[number].process)
            other = three[number - 1]
            wait_until(lambda one=other: written(one, secrets), "the two others take a write", timeout=60)
            ports = (three[number].port, three[number].monitor)
            three[number] = start(tmp_path, number, routes, secrets, sent, accepted=frozenset(accepted), ports=ports)
            together(three)
    logs = [(tmp_path / f"nats-{number}.log").read_text() for number in range(3)]
    assert not [line for log in logs for line in log.splitlines() if "uthori" in line or "uthentication" in line]
    stranger = start(tmp_path, 3, [*routes, free_port()], secrets, old)
    try:
        log = tmp_path / "nats-3.log"
        wait_until(lambda: tail(log, 50), "it is refused", timeout=20, until=lambda it: "Authorization Violation" in it)
        assert not stranger.healthy()
        assert not peers(stranger)
    finally:
        terminate(stranger.process)


def test_while_two_passwords_are_accepted_a_certificate_of_our_authority_is_required(
    secrets: ServerSecrets, tmp_path: Path
) -> None:
    """No password is required then: docs/decisions/066."""
    assert secrets.routes
    routes = [free_port() for _ in range(2)]
    foreign = server_secrets(FileSecretStore(tmp_path / "foreign"), [HOST], [HOST])
    password = secrets.routes.password
    accepted = frozenset({password, new_password()})
    ours = start(tmp_path, 0, routes, secrets, password, accepted=accepted)
    stranger = start(tmp_path, 1, routes, foreign, password, accepted=accepted)
    try:
        log = tmp_path / "nats-0.log"
        wait_until(lambda: tail(log, 50), "it is refused", timeout=30, until=lambda it: "handshake error" in it)
        assert not peers(ours)
        assert not peers(stranger)
    finally:
        terminate(stranger.process)
        terminate(ours.process)


def together(servers: list[Server]) -> None:
    """Wait until each has a route to both others, and is healthy."""

    def known() -> list[bool]:
        return [server.healthy() and len(peers(server)) == 2 for server in servers]

    wait_until(known, "each knows both others", timeout=60, until=all)


def peers(server: Server) -> set[str]:
    with contextlib.suppress(httpx.HTTPError):
        found = httpx.get(f"http://{HOST}:{server.monitor}/routez", timeout=5).json()
        return {one["remote_name"] for one in found["routes"]}
    return set()


def written(server: Server, secrets: ServerSecrets) -> bool:
    state = SAMPLES["device-state"]
    assert isinstance(state, DeviceState)
    try:
        play(server, secrets, lambda bus: bus.kv(STATES).put("pi-1.web", state))
    except Unreachable:
        return False
    return True
