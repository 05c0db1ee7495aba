"""Log-ins per second through the auth callout, at many connections at once; a static user's beside it as the peer."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

from benchmarks.issuer import issuer
from benchmarks.load import LoadTarget, Tally, cheap_tls, log_in_all, raise_file_limit, with_password, with_token
from benchmarks.report import Table, percentile
from benchmarks.server import enroll, running_callout, running_nats
from benchmarks.usage import cpu_seconds
from fleet.contract.buckets import APP_USER
from tests.support.nats import PASSWORDS, Nats
from tests.support.tls import make_tls

LEVELS = {8: 1_500, 64: 2_000, 512: 3_000, 4_000: 8_000}
"""Connections at once, and how many log-ins are measured at that level."""


def run() -> Table:
    """Measure every level: with tokens never seen before, with tokens seen before, and with a password."""
    raise_file_limit(12_000)
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as name:
        folder = Path(name)
        tls = make_tls(folder)
        nats = Nats(folder / "nats", tls)
        with issuer(tls) as provider, running_nats(nats) as server:
            devices = enroll(nats, provider, max(LEVELS.values()))
            rows: list[tuple[str, ...]] = []
            for at_once, total in LEVELS.items():
                with running_callout(nats, provider, folder) as callout:
                    tokens = [with_token(one.token, one.device) for one in devices[:total]]
                    rows += [
                        _measure(nats.port, kind, tokens, at_once, (server.pid, callout.pid))
                        for kind in ("token, new", "token, known")
                    ]
                peers = list(repeat(with_password(APP_USER, PASSWORDS.app), total))
                rows.append(_measure(nats.port, "password", peers, at_once, (server.pid, 0)))
    return Table(
        "callout",
        ("at once", "credential", "log-ins/s", "p50 ms", "p99 ms", "failed", "server CPU us", "callout CPU us"),
        tuple(rows),
        (
            "So many devices log in at once, each over a new connection, again and again. Rates count everything: TCP, "
            "a resumed TLS handshake, CONNECT, the decision, and the client, which shares the cores. Times are from "
            "CONNECT to the PONG that follows. "
            "`token, new`: the callout has never seen the token, so it verifies an RS256 signature. `token, known`: "
            "the same devices once more. `password`: a static user of the same server, which asks nobody: the peer. "
            "The last two columns are CPU time for one log-in; the server's has the handshake in it.",
        ),
    )


def _measure(
    port: int, kind: str, credentials: Sequence[bytes], at_once: int, pids: tuple[int, int]
) -> tuple[str, ...]:
    async def log_in() -> Tally:
        return await log_in_all(LoadTarget(port, cheap_tls()), credentials, at_once)

    before = [cpu_seconds(pid) if pid else 0.0 for pid in pids]
    tally = asyncio.run(log_in())
    used = [cpu_seconds(pid) - past if pid else 0.0 for pid, past in zip(pids, before, strict=True)]
    cpu = [f"{seconds / len(credentials) * 1e6:,.0f}" if seconds else "-" for seconds in used]
    return (f"{at_once:,}", kind, *_figures(tally), *cpu)


def _figures(tally: Tally) -> tuple[str, ...]:
    return (
        f"{len(tally.seconds) / tally.elapsed:,.0f}",
        f"{percentile(tally.seconds, 0.50) * 1000:,.1f}",
        f"{percentile(tally.seconds, 0.99) * 1000:,.1f}",
        f"{tally.failed:,}" + (f" ({tally})" if tally.failed else ""),
    )
