"""From when a log is read on: a line that was read is not read again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from fleet.agent.answers import Past
from fleet.agent.engine import Engine


class Asked(Engine):
    """An engine with an empty log, which keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(Path("/unused"))
        self.since: list[float] = []
        self._http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://engine")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.since.append(float(request.url.params["since"]))
        return httpx.Response(200, stream=httpx.ByteStream(b""))


@pytest.mark.parametrize("heard", [1764489600.0004, 1764489600.000499, 1764489600.999501])
def test_a_line_that_came_within_a_millisecond_is_older_than_what_is_asked_for(heard: float) -> None:
    """An engine includes the lines of that very moment; this one was written 0.1 ms before it was read."""
    written = heard - 0.0001

    async def run() -> list[float]:
        engine = Asked()
        async for _ in engine.logs("web", Past(heard, 10), follow=False):
            pass
        await engine.close()
        return engine.since

    (since,) = asyncio.run(run())
    assert written < since <= heard + 0.000001
