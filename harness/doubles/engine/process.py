"""A running container's process, through its shim."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from harness.processes.spawn import die_with

_SHIM = Path(__file__).with_name("shim.py")


class Spec(msgspec.Struct, frozen=True):
    """The first message to the shim."""

    root: str
    argv: list[str]
    env: dict[str, str]
    folder: str
    log: str
    ports: list[dict[str, int | str]]
    hostname: str
    network: str
    mounts: list[dict[str, Any]]
    shm: int
    read_only: bool
    privileged: bool
    cap_add: list[str]
    cap_drop: list[str]
    security: list[str]
    ulimits: list[tuple[str, int, int]]
    user: str
    join: int = 0
    """A process whose network namespace it has; 0 for a new one."""


class StartFailed(Exception):  # noqa: N818 - an outcome
    """The process did not start: `kind` is `port`, `exec` or `namespaces`."""

    def __init__(self, kind: str, message: str, port: int = 0) -> None:
        """Keep what the shim said."""
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.port = port


class Checked(msgspec.Struct, frozen=True):
    """The outcome of one health check."""

    exit_code: int
    output: str


class Process:
    """One life of a container. `pid` is its process as the host sees it."""

    def __init__(self, shim: asyncio.subprocess.Process) -> None:
        """Use `start`."""
        self.pid = 0
        self._shim = shim
        self._reader: asyncio.Task[None] | None = None
        self._checks: list[asyncio.Future[Checked]] = []
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, spec: Spec) -> Process:
        """Run it.

        Raises:
            StartFailed: it could not be; nothing runs.
        """
        parent = os.getpid()
        shim = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", str(_SHIM)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=lambda: die_with(parent),
        )
        process = cls(shim)
        process._write(msgspec.json.encode(spec))
        message = await process._read()
        if "started" not in message:
            await shim.wait()
            raise StartFailed(
                message.get("failed", "shim"), message.get("message", "the shim died"), message.get("port", 0)
            )
        process.pid = message["started"]
        process._reader = asyncio.create_task(process._listen())
        return process

    async def wait(self) -> int:
        """Its exit code, once it has ended; 128 and the signal for one that was killed."""
        return await asyncio.shield(self._code)

    def send(self, number: int) -> None:
        """Signal it; nothing if it has ended."""
        self._write(msgspec.json.encode({"signal": int(number)}))

    async def check(self, argv: list[str], limit: float) -> Checked:
        """Run a health check of at most `limit` seconds beside it. One at a time."""
        answer: asyncio.Future[Checked] = asyncio.get_running_loop().create_future()
        self._checks.append(answer)
        self._write(msgspec.json.encode({"check": argv, "limit": limit}))
        return await answer

    def _write(self, line: bytes) -> None:
        assert self._shim.stdin
        with contextlib.suppress(ConnectionError):
            self._shim.stdin.write(line + b"\n")

    async def _read(self) -> dict[str, Any]:
        assert self._shim.stdout
        line = await self._shim.stdout.readline()
        return msgspec.json.decode(line) if line else {}

    async def _listen(self) -> None:
        code = 137
        while message := await self._read():
            if "checked" in message and self._checks:
                answer = self._checks.pop(0)
                if not answer.done():
                    answer.set_result(Checked(message["checked"], message["output"]))
            elif "ended" in message:
                code = message["ended"]
        assert self._shim.stdin
        self._shim.stdin.close()
        # The shim holds the published ports until it ends: a container has not ended before they are free.
        await self._shim.wait()
        self._code.set_result(code)
