"""10,000 devices whose connections end at the same moment: how long until all are back, and who was turned away."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.issuer import issuer
from benchmarks.load import LoadTarget, LoginFailed, Session, cheap_tls, raise_file_limit, with_token
from benchmarks.report import Table, percentile
from benchmarks.server import enroll, running_callout, running_nats
from fleet.process.backoff import pause
from tests.support.nats import Nats
from tests.support.tls import make_tls

CONNECTIONS = 10_000
_DEADLINE = 180.0
"""Seconds after which a device that is not back counts as lost."""


@dataclass
class Fleet:
    """Connections that come back as the product's do; counts what happened since `forget`."""

    target: LoadTarget
    credentials: Sequence[bytes]
    sessions: list[Session] = field(default_factory=list[Session])
    back: list[float] = field(default_factory=list[float])
    refused: Counter[str] = field(default_factory=Counter[str])
    most_tries: int = 0

    async def settle(self, at_once: int) -> None:
        """Connect everybody for the first time, `at_once` at a time."""
        waiting = iter(self.credentials)

        async def worker() -> None:
            for line in waiting:
                self.sessions.append(await self.target.enter(line))

        await asyncio.gather(*(worker() for _ in range(at_once)))

    async def storm(self, drop: Callable[[], object]) -> float:
        """End all connections with `drop`; returns the seconds until the last device is back, or gave up."""
        started = time.monotonic()
        self.back, self.refused, self.most_tries = [], Counter(), 0
        returns = [
            asyncio.create_task(self._return(session.lost, line, started))
            for session, line in zip(self.sessions, self.credentials, strict=True)
        ]
        await asyncio.sleep(0)  # all of them wait for the end of their connection now
        drop()
        self.sessions = []
        await asyncio.gather(*returns)
        return time.monotonic() - started

    async def _return(self, ended: asyncio.Future[float], line: bytes, started: float) -> None:
        await ended
        tries = 0
        while time.monotonic() - started < _DEADLINE:
            tries += 1
            await asyncio.sleep(product_wait(tries))
            try:
                session = await self.target.enter(line)
            except LoginFailed as error:
                self.refused[str(error)] += 1
            else:
                self.sessions.append(session)
                self.back.append(time.monotonic() - started)
                break
        self.most_tries = max(self.most_tries, tries)

    def cut(self) -> None:
        """End every connection from this side, as a switch that restarts does."""
        for session in self.sessions:
            session.abort()


def product_wait(tries: int) -> float:
    """Seconds before an attempt, by the rule of `fleet.nats.client` for devices."""
    return pause(0.5, 4.0, tries - 1)


def run() -> Table:
    """Cut all connections while the callout knows the tokens, then beside a new callout; then restart the server."""
    raise_file_limit(CONNECTIONS + 2_000)
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as name:
        folder = Path(name)
        tls = make_tls(folder)
        nats = Nats(folder / "nats", tls)
        with issuer(tls) as provider, running_nats(nats):
            devices = enroll(nats, provider, CONNECTIONS)
            lines = [with_token(one.token, one.device) for one in devices]
            rows = asyncio.run(_storms(lines, nats, lambda: running_callout(nats, provider, folder)))
    return Table(
        "storm",
        ("storm", "devices", "back", "all back s", "p50 s", "p99 s", "attempts refused", "most attempts"),
        rows,
        (
            "All connections end at one moment; each comes back by the agent's own rule (a random wait that grows to "
            "4 s, TLS, a token). A refused attempt is tried again, as the agent does; a device that is not back within "
            f"{_DEADLINE:g} s is lost. One client plays all devices on the same cores, at most 32 TLS handshakes "
            "(resumed ones) at a time, so the pace is also the client's.",
        ),
    )


async def _storms(
    credentials: Sequence[bytes], nats: Nats, callout: Callable[[], AbstractContextManager[object]]
) -> tuple[tuple[str, ...], ...]:
    fleet = Fleet(LoadTarget(nats.port, cheap_tls()), credentials)

    def restart() -> None:
        nats.kill()
        nats.start()

    with callout():
        await fleet.settle(at_once=64)
        known = await _storm("connections cut, tokens known", fleet, fleet.cut)
    with callout():
        new = await _storm("connections cut, callout just started", fleet, fleet.cut)
        restarted = await _storm("NATS killed and started again", fleet, restart)
    fleet.cut()
    return (known, new, restarted)


async def _storm(title: str, fleet: Fleet, drop: Callable[[], None]) -> tuple[str, ...]:
    if len(fleet.sessions) != len(fleet.credentials):
        raise SystemExit(
            f"{len(fleet.sessions)} of {len(fleet.credentials)} devices are connected: no storm to measure"
        )
    seconds = await fleet.storm(drop)
    refused = ", ".join(f"{count:,} x {why}" for why, count in fleet.refused.most_common()) or "0"
    return (
        title,
        f"{len(fleet.credentials):,}",
        f"{len(fleet.back):,}",
        f"{seconds:.1f}",
        f"{percentile(fleet.back, 0.50):.1f}",
        f"{percentile(fleet.back, 0.99):.1f}",
        refused,
        str(fleet.most_tries),
    )
