"""The agent's engine client at work on one engine, with waits, and a raw client for what the agent never asks."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from fleet.agent.answers import Details
from fleet.agent.engine import Engine
from fleet.agent.volumes import remove_volume, volumes_with
from fleet.contract.wire import Container, Health, Port, Protocol, Restart
from harness.engine.client import EngineClient
from harness.images import IMAGE
from harness.wait import WaitTimeout

T = TypeVar("T")
LABEL = "io.fleet.test"
STAYS = ("sleep", "1000000")


def workload(
    *command: str,
    image: str = IMAGE,
    restart: Restart = Restart.UNLESS_STOPPED,
    ports: tuple[Port, ...] = (),
    health: Health | None = None,
    env: dict[str, str] | None = None,
    args: tuple[str, ...] = (),
) -> Container:
    return Container(
        image=image, command=command, args=args, env=env or {}, ports=ports, restart=restart, health=health
    )


def web(port: int, protocol: Protocol = Protocol.TCP) -> Container:
    return workload("httpd", "-f", "-p", "80", "-h", "/www", ports=(Port(port, 80, protocol),))


class Lab:
    def __init__(self, path: str) -> None:
        self.socket = Path(path)
        self.mark = secrets.token_hex(4)
        self.label = f"{LABEL}={self.mark}"
        self.raw = EngineClient(path)

    @property
    def is_podman(self) -> bool:
        return "podman" in self.raw.version().lower()

    @property
    def is_double(self) -> bool:
        return "double" in self.raw.version()

    @property
    def is_docker(self) -> bool:
        return not self.is_podman and not self.is_double

    def name(self, suffix: str = "one") -> str:
        return f"test-{self.mark}-{suffix}"

    def run(self, body: Callable[[Engine], Awaitable[T]]) -> T:
        """Do something with the agent's client, in an event loop of its own."""

        async def go() -> T:
            engine = Engine(self.socket)
            try:
                async with asyncio.timeout(100):
                    return await body(engine)
            finally:
                await engine.close()

        return asyncio.run(go())

    async def make(self, engine: Engine, wanted: Container, suffix: str = "one") -> str:
        return await engine.create(self.name(suffix), wanted, {LABEL: self.mark})

    async def started(self, engine: Engine, wanted: Container, suffix: str = "one") -> str:
        container = await self.make(engine, wanted, suffix)
        await engine.start(container)
        return container

    async def look(self, engine: Engine, container: str) -> Details:
        (found,) = [one for one in await engine.containers(self.label) if one.id == container]
        return found

    async def until(
        self, engine: Engine, container: str, condition: str, good: Callable[[Details], bool], *, within: float = 8
    ) -> Details:
        deadline = time.monotonic() + within
        while not good(seen := await self.look(engine, container)):
            if time.monotonic() > deadline:
                raise WaitTimeout(condition, within, repr(seen))
            await asyncio.sleep(0.02)
        return seen

    def log(self, container: str) -> str:
        """What the container wrote."""
        text = self.raw.call("GET", f"/containers/{container}/logs", params={"stdout": "1", "stderr": "1"}).content
        parts = b""
        while text:
            size = int.from_bytes(text[4:8], "big")
            parts, text = parts + text[8 : 8 + size], text[8 + size :]
        return parts.decode()

    def close(self) -> None:
        async def remove_all(engine: Engine) -> None:
            for one in await engine.containers(self.label):
                await engine.remove(one.id)
            for volume in await volumes_with(engine, self.label):
                await remove_volume(engine, volume.name)

        self.run(remove_all)
        self.raw.close()
