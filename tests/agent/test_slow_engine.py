"""An engine whose answer comes byte by byte, without an end, is given up as one that says nothing."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from fleet.agent.answers import EngineSilent
from fleet.agent.engine import Engine


def test_an_answer_that_has_no_end_is_given_up(root: Path) -> None:
    over = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
        with contextlib.suppress(OSError):
            while not over.is_set():
                writer.write(b"x")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await over.wait()
        writer.close()

    async def body() -> None:
        async with await asyncio.start_unix_server(answer, root / "engine.sock"):
            engine = Engine(root / "engine.sock")
            with pytest.raises(EngineSilent, match="no answer in time"):
                await engine.call("GET", "/version", "ask the version", limit=0.2)
            await engine.close()
            over.set()

    asyncio.run(body())
