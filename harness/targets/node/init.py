"""Process 1: forward ports, collect the dead, and end, with everything, when the parent or the supervisor ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

_CHUNK = 65536
_CONNECT_WITHIN = 0.5
"""Seconds that a target has to accept, before the next one is tried."""


class Forward(msgspec.Struct, frozen=True):
    """A listening socket of the outside, and addresses inside, of which the first that accepts is used.

    A socket stays in the network namespace in which it was made; so one process accepts outside and connects inside.
    """

    listener: socket.socket
    hosts: tuple[str, ...]
    port: int


def be_init(root: Path, alive: int, forwards: Sequence[Forward] = ()) -> None:
    """Run the supervisor of `root` as the only child that matters; never returns.

    Args:
        root: The folder with the components.
        alive: Reads end-of-file once the parent has ended.
        forwards: What to forward meanwhile.
    """
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "harness.processes.supervisor", str(root)],
        stdin=subprocess.PIPE,
        env={**os.environ, "FLEET_WORLD": str(root)},
        start_new_session=True,
    )
    asyncio.run(_serve(supervisor.pid, alive, forwards))
    os._exit(0)  # the kernel kills the rest of the namespace


async def _serve(supervisor: int, alive: int, forwards: Sequence[Forward]) -> None:
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGCHLD, _collect, supervisor, end)
    loop.add_reader(alive, end.set)
    _collect(supervisor, end)
    for forward in forwards:
        await asyncio.start_server(_handler(forward), sock=forward.listener)
    await end.wait()
    _say("ends")


def _collect(supervisor: int, end: asyncio.Event) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == supervisor:
                _say(f"the supervisor ended with code {os.waitstatus_to_exitcode(ended[1])}")
                end.set()


def _say(text: str) -> None:
    print(f"{time.time():.3f} init: {text}", flush=True)  # noqa: T201 - the log


def _handler(forward: Forward):  # noqa: ANN202 - what asyncio wants
    async def serve(outer: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        inner = await _connect(forward)
        if inner is None:
            answer.transport.abort()  # the peer sees a reset, as from a closed port
            return
        await asyncio.gather(_pump(outer, inner[1]), _pump(inner[0], answer))
        for writer in (inner[1], answer):
            writer.close()

    return serve


async def _connect(forward: Forward) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    for host in forward.hosts:
        with contextlib.suppress(OSError):  # TimeoutError is one
            return await asyncio.wait_for(asyncio.open_connection(host, forward.port), _CONNECT_WITHIN)
    return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()  # pass a half-close on
    except (OSError, RuntimeError):
        writer.transport.abort()
