"""Runs a module of the agent as a process of its own: what it imports goes with it, and a device has little memory."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE


async def call(module: str, *arguments: str, stdin: bytes = b"", within: float) -> tuple[int, bytes]:
    """Run `python -m MODULE ARGUMENT...` with the standard input `stdin`; returns exit code and standard output.

    A cancellation ends it, too.

    Raises:
        TimeoutError: it did not end within so many seconds, and was killed.
    """
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE, env=env
    )
    try:
        async with asyncio.timeout(within):
            answer, _ = await child.communicate(stdin)
            return await child.wait(), answer
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
