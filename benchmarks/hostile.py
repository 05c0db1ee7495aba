"""A stolen device attacks a fleet of ten others, a siege per seed: what the others noticed, and what it cost."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.place import installed
from benchmarks.report import Table
from harness.scenario.scenario import Scenario
from harness.scenario.setup import prepared
from harness.siege.findings import Bounds, broken
from harness.siege.play import Siege, besiege
from harness.world.world import World

SEEDS = 10
SECONDS = 360.0
"""Of each seed, before its device is revoked: an hour in all."""
NEIGHBOURS = 10


def run(seeds: int = SEEDS, seconds: float = SECONDS) -> Table:
    """Play the seeds one after the other, in one world."""
    with installed() as world:
        rows = [_row(seed, _siege(world, seed, seconds)) for seed in range(1, seeds + 1)]
    bounds = Bounds()
    return Table(
        "hostile",
        (
            *("seed", "sent MB", "log-ins", "changes", "silence s", "change s", "status s", "revoke s", "outlived s"),
            *("nats MiB", "operator MiB", "etcd MiB", "disk MiB", "broken promises"),
        ),
        tuple(rows),
        (
            f"{seconds:g} s of every attack of `harness.devices.hostile`, seeded, beside {NEIGHBOURS} agents whose one "
            "deployment changes again and again; then the device is revoked, and goes on trying. Times are the worst "
            "seen: silence between two heartbeats of a neighbour (one a second), from a change to its container on "
            "every neighbour, from there to the status, the command to revoke, and how long a session outlived it. "
            f"Promised: {bounds.silence:g}, {bounds.delivered:g}, {bounds.status:g}, {bounds.revoking:g} and "
            f"{bounds.revoked:g} s. Memory is the most that was resident; disk is the growth of the world's folder.",
        ),
    )


def _siege(world: World, seed: int, seconds: float) -> Siege:
    scenario = Scenario(id="siege", title="A siege", chapter="Rules", why="", devices=NEIGHBOURS + 1)
    with tempfile.TemporaryDirectory() as folder, prepared(scenario, world, Path(folder)) as made:
        siege = besiege(made, NEIGHBOURS, seed=seed, seconds=seconds, reads=True)
    print(f"seed {seed}: {broken(siege.seen, Bounds()) or 'every promise was kept'}", file=sys.stderr)
    return siege


def _row(seed: int, siege: Siege) -> tuple[str, ...]:
    seen = siege.seen
    times: Sequence[float] = (
        max(seen.silence.values(), default=0),
        max(seen.delivered, default=0),
        max(seen.status, default=0),
        seen.revoking,
        seen.revoked,
    )
    sizes = (*(seen.memory.get(part, 0) for part in ("nats", "operator", "etcd")), sum(seen.disk.values()))
    return (
        str(seed),
        f"{siege.assault.sent / 1e6:,.0f}",
        f"{siege.assault.logins:,}",
        str(seen.rounds),
        *(f"{value:.2f}" for value in times),
        *(f"{value:,.0f}" for value in sizes),
        str(len(broken(seen, Bounds()))),
    )
