"""Every secret of a server renewed beside connected devices: how long anybody is out, and how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import msgspec

from benchmarks.crowd import INFO
from benchmarks.load import LoadTarget, LoginFailed, Session, cheap_tls, raise_file_limit, with_token
from benchmarks.place import bare, fleet, install
from benchmarks.report import Table
from benchmarks.storm import product_wait
from fleet.agent.new_key import NewKey, make
from fleet.contract.buckets import DEVICE_INFO, TRUST_BUNDLE, TRUST_KEY
from fleet.contract.certificates import certificate_ids
from fleet.contract.config import DEVICE_ROLE, FleetDeviceAuth, MachineKey
from fleet.contract.labels import NONE_CARRIED
from fleet.contract.names import DeviceId
from fleet.contract.objects import API_VERSION, ServerInfo
from fleet.identity.tokens import fetch_token
from fleet.identity.zitadel import Zitadel
from fleet.install.identities import create_user
from harness.errors import Unanswered
from harness.wait import wait_until
from harness.world.world import World

DEVICES = 1_000
_AT_ONCE = 8
"""Devices that are enrolled, or log in for the first time, at once."""
_KNOCK = 0.05
"""Seconds between two logins of somebody new."""
_LOOK = 0.1
"""Seconds between two looks at the bundle that devices are to trust."""
_BY_ITSELF = frozenset({"device_key", "release_key", "admin_token"})
"""What is rotated by a command with more options, or with an admin's own files."""
_ENROLLED_WITHIN, _ROTATED_WITHIN = 300.0, 600.0


@dataclass
class Outages:
    """What devices, and somebody new, met while one secret was renewed; seconds."""

    gaps: list[float] = field(default_factory=list[float])
    waits: list[float] = field(default_factory=list[float])
    refused: Counter[str] = field(default_factory=Counter[str])


class Members:
    """Sessions of devices that come back as the product's do, and a stranger who logs in again and again."""

    def __init__(self, target: LoadTarget, credentials: Sequence[bytes]) -> None:
        """Nobody is connected yet."""
        self._target = target
        self.credentials = credentials
        self._sessions: dict[bytes, Session] = {}
        self.seen = Outages()

    async def settle(self) -> None:
        """Connect everybody for the first time.

        Raises:
            LoginFailed: one is refused.
        """
        waiting = iter(self.credentials)

        async def worker() -> None:
            for line in waiting:
                self._sessions[line] = await self._target.enter(line)

        await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))

    async def stay(self) -> None:
        """Come back whenever a session ends, and knock as somebody new, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for line, session in self._sessions.items():
                tasks.create_task(self._stay(line, session))
            tasks.create_task(self._knock(self.credentials[0]))

    def all_in(self) -> bool:
        """Whether no session has ended without its device being back."""
        return not any(session.lost.done() for session in self._sessions.values())

    async def _stay(self, line: bytes, session: Session) -> None:
        while True:
            ended = await session.lost
            tries = 0
            while True:
                tries += 1
                await asyncio.sleep(product_wait(tries))
                try:
                    session = self._sessions[line] = await self._target.enter(line)
                except LoginFailed as error:
                    self.seen.refused[str(error)] += 1
                else:
                    break
            self.seen.gaps.append(time.monotonic() - ended)

    async def _knock(self, line: bytes) -> None:
        while True:
            began = time.monotonic()
            while True:
                try:
                    session = await self._target.enter(line)
                except LoginFailed as error:
                    self.seen.refused[str(error)] += 1
                    await asyncio.sleep(_KNOCK)
                else:
                    break
            self.seen.waits.append(time.monotonic() - began)
            session.abort()
            await asyncio.sleep(_KNOCK)


def run(count: int = DEVICES, target: str = "embedded") -> Table:
    """Renew each secret of a server once, with so many devices connected, one secret after the other."""
    raise_file_limit(count + 2_000)
    with bare(target) as world:
        install(world)
        devices = _enroll(world, count)
        rows = asyncio.run(_rotate_all(world, devices))
    servers = "three servers" if target == "node:3" else "one server"
    return Table(
        "rotation" if target == "embedded" else f"rotation-{target.replace(':', '')}",
        (
            "secret",
            "devices",
            "command s",
            "sessions ended",
            "longest gap of a device ms",
            "longest login ms",
            "logins refused",
        ),
        rows,
        (
            f"With {servers} of NATS. Each device has one session by a token of its own, and comes back by the agent's "
            "own rule: a random wait that grows to 4 s, TLS, the token. Its gap is from the end of a session to the "
            "next login. Somebody new logs in each 50 ms: the longest login counts its refused attempts in. One "
            "process plays all of them on the same cores. For `ca_key` it reports for each device that it trusts what "
            "the server announces. No agent runs, so `device_key` is not measured, nor are workloads.",
        ),
    )


def _enroll(world: World, count: int) -> dict[str, FleetDeviceAuth]:
    """Machine users with one key for all of them, and a `Device` for each; returns once all are let in."""
    server = world.kube.server()
    assert server
    key = asyncio.run(make())
    names = [f"member-{number:05}" for number in range(count)]
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        made = list(workers.map(partial(_enrolled, world, server, key), names))
    wait_until(
        lambda: sum(_is_enrolled(world, name) for name in names),
        f"{count} devices are enrolled",
        timeout=_ENROLLED_WITHIN,
        until=lambda enrolled: enrolled == count,
        interval=1,
    )
    return dict(zip(names, made, strict=True))


def _enrolled(world: World, server: ServerInfo, key: NewKey, name: str) -> FleetDeviceAuth:
    with Zitadel(server.issuer, server.ca, world.admin_token_file.read_text().strip()) as zitadel:
        user = create_user(zitadel, server, DeviceId(name)).id
        zitadel.ensure_grant(user, server.project_id, DEVICE_ROLE)
        registered = zitadel.register_key(user, key.public)
    world.kube.create(
        f"/apis/{API_VERSION}/namespaces/{world.namespace}/devices",
        {
            "apiVersion": API_VERSION,
            "kind": "Device",
            "metadata": {"name": name, "annotations": NONE_CARRIED},
            "spec": {"subject": user},
        },
    )
    return FleetDeviceAuth(server.issuer, server.project_id, MachineKey(user, registered, key.private), server.ca)


def _is_enrolled(world: World, name: str) -> bool:
    device = world.kube.device(name)
    return device is not None and any(
        one.type == "Enrolled" and one.status == "True" for one in device.status.conditions
    )


async def _rotate_all(world: World, devices: dict[str, FleetDeviceAuth]) -> tuple[tuple[str, ...], ...]:
    server = world.kube.server()
    assert server
    address = urlsplit(server.nats_url)
    lines = [with_token((await fetch_token(auth)).text, name) for name, auth in devices.items()]
    members = Members(LoadTarget(address.port or 4222, cheap_tls()), lines)
    await members.settle()
    staying = [asyncio.create_task(members.stay()), asyncio.create_task(_report(world, list(devices)))]
    listed = msgspec.json.decode(fleet(world, "secrets", "list", "--output", "json").stdout)
    names = [one["name"] for one in listed if one["rotates"] and one["name"] not in _BY_ITSELF]
    rows = [await _rotate(world, members, name) for name in names]
    for task in staying:
        task.cancel()
    await asyncio.gather(*staying, return_exceptions=True)
    return tuple(rows)


async def _rotate(world: World, members: Members, name: str) -> tuple[str, ...]:
    members.seen = seen = Outages()
    began = time.monotonic()
    await asyncio.to_thread(fleet, world, "secrets", "rotate", name, "--wait", within=_ROTATED_WITHIN)
    took = time.monotonic() - began
    while not members.all_in():  # noqa: ASYNC110 - each device tells of its own end only
        await asyncio.sleep(_LOOK)
    return (
        name,
        f"{len(members.credentials):,}",
        f"{took:.1f}",
        f"{len(seen.gaps):,}",
        f"{max(seen.gaps, default=0) * 1000:,.0f}",
        f"{max(seen.waits, default=0) * 1000:,.0f}",
        ", ".join(f"{count:,} x {why}" for why, count in seen.refused.most_common()) or "0",
    )


async def _report(world: World, names: Sequence[str]) -> None:
    """Whenever the announced certificates are others, each device says that it trusts them."""
    said: tuple[str, ...] = ()
    while True:
        try:
            bundle = await asyncio.to_thread(world.nats.get, TRUST_BUNDLE, TRUST_KEY)
            if bundle and (told := tuple(certificate_ids(bundle.certificates))) != said:
                for name in names:
                    info = msgspec.structs.replace(INFO, trusts=told)
                    await asyncio.to_thread(world.nats.put, DEVICE_INFO, name, info)
                said = told
        except Unanswered:  # NATS is being restarted
            pass
        await asyncio.sleep(_LOOK)
