"""A running container's process, through its shim."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from harness.process import die_with

_SHIM = Path(__file__).with_name("shim.py")


class Spec(msgspec.Struct, frozen=True):
    """What the shim is told first."""

    root: str
    argv: list[str]
    env: dict[str, str]
    folder: str
    log: str
    ports: list[dict[str, int | str]]


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
        said = await process._read()
        if "started" not in said:
            await shim.wait()
            raise StartFailed(said.get("failed", "shim"), said.get("message", "the shim died"), said.get("port", 0))
        process.pid = said["started"]
        process._reader = asyncio.create_task(process._listen())
        return process

    async def wait(self) -> int:
        """Its exit code, once it has ended; 128 and the signal for one that was killed."""
        return await asyncio.shield(self._code)

    def send(self, number: signal.Signals) -> None:
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
        while said := await self._read():
            if "checked" in said and self._checks:
                answer = self._checks.pop(0)
                if not answer.done():
                    answer.set_result(Checked(said["checked"], said["output"]))
            elif "ended" in said:
                self._code.set_result(said["ended"])
        if not self._code.done():
            self._code.set_result(137)
        assert self._shim.stdin
        self._shim.stdin.close()
        await self._shim.wait()
