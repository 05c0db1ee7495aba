"""A Kubernetes node of our own from nothing, a fleet server on it, and the same server installed again."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.place import bare, fleet, install
from benchmarks.report import Table
from harness.binaries import NAMES, NODE_NAMES, resolve_all
from harness.images.server import pause
from harness.targets.node.node_cluster import node_cluster
from harness.world.world import World

_TIMES = 3


def run() -> Table:
    """Each `_TIMES` times, warm: the servers are built, the images are in the cache."""
    binaries, sandbox = resolve_all((*NAMES, *NODE_NAMES)), pause()

    def start() -> float:
        started = time.monotonic()
        with node_cluster(binaries, sandbox):
            return time.monotonic() - started

    ready = [start() for _ in range(_TIMES)]
    with bare("node") as world:
        installed, again = zip(*(_install_twice(world) for _ in range(_TIMES)), strict=True)
    return Table(
        "node",
        ("from", "to", "median s", "slowest s"),
        (
            _row("nothing", "the node is ready", ready),
            _row("images loaded, nothing installed", "every part is ready", installed),
            _row("installed", "installed again without a change", again),
        ),
        (f"{_TIMES} times each. An install is `fleet server install` from its start to its end.",),
    )


def _install_twice(world: World) -> tuple[float, float]:
    taken = (_seconds(lambda: install(world)), _seconds(lambda: install(world)))
    fleet(world, "server", "uninstall", "--delete-data")
    return taken


def _seconds(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def _row(start: str, end: str, taken: list[float] | tuple[float, ...]) -> tuple[str, ...]:
    print(f"{start} to {end}: {taken}", file=sys.stderr)
    return start, end, f"{statistics.median(taken):.1f}", f"{max(taken):.1f}"
