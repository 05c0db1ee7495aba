"""From `fleet device revoke` to the end of the device's live session, seen by the device."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.load import LoadTarget, LoginFailed, unverified_tls, with_token
from benchmarks.place import enroll, fleet, installed
from benchmarks.report import Table
from fleet.contract.config import AgentConfig
from fleet.identity.tokens import fetch_token
from harness.world.world import World

_RUNS = 8
_DEADLINE = 30.0


@dataclass(frozen=True)
class Revocation:
    """One revocation; seconds. `dropped` and `returned` count from the command's start."""

    dropped: float
    returned: float
    refused: str


def run() -> Table:
    """Revoke one device after another, each with a live session."""
    with installed() as world:
        seen = [asyncio.run(_revoke(world, enroll(world, world.unique("revoke")))) for _ in range(_RUNS)]
    after = [one.dropped - one.returned for one in seen]
    return Table(
        "revoke",
        ("from", "to", "median ms", "slowest ms"),
        (
            _row("command started", "session dropped", [one.dropped for one in seen]),
            _row("command started", "command returned", [one.returned for one in seen]),
            _row("command returned", "session dropped", after),
        ),
        (
            f"{_RUNS} devices, each with a live session; a negative time means that the session was gone before the "
            f"command returned. The next log-in of each was refused with: {', '.join({one.refused for one in seen})}.",
        ),
    )


async def _revoke(world: World, config: AgentConfig) -> Revocation:
    token = await fetch_token(config.auth)
    target = LoadTarget(urlsplit(config.nats_url).port or 4222, unverified_tls())
    credentials = with_token(token.text, str(config.device_id))
    session = await target.enter(credentials)
    started = time.monotonic()
    command = asyncio.to_thread(fleet, world, "device", "revoke", config.device_id)
    returning = asyncio.create_task(_timed(command))
    dropped = await asyncio.wait_for(session.lost, _DEADLINE)
    returned = await returning
    try:
        (await target.enter(credentials)).abort()
        raise SystemExit(f"{config.device_id} came back after it was revoked")
    except LoginFailed as error:
        return Revocation(dropped - started, returned - started, str(error))


async def _timed(command: Awaitable[object]) -> float:
    await command
    return time.monotonic()


def _row(start: str, end: str, values: list[float]) -> tuple[str, ...]:
    return (start, end, f"{statistics.median(values) * 1000:.0f}", f"{max(values) * 1000:.0f}")
